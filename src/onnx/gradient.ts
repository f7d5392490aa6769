import { Differentiation } from './differentiation.js';
import { LOSS_RULES } from './gradient-rules.js';
import { MODEL_RULES } from './gradient-rules-of-models.js';
import type { GraphBuilder, Value } from './graph.js';

const ALL = { ...LOSS_RULES, ...MODEL_RULES };

/**
 * Reverse-mode differentiation: adds the gradient of a scalar with respect to `wrt` to its graph. Values made by
 * `stopGradient` are constants, and those of `withDerivative` have the given derivative.
 *
 * @returns gradients by value, in its shape; absent if the scalar does not depend on it
 * @throws NoGradient naming an operator without a rule
 */
export function gradients(g: GraphBuilder, of: Value, wrt: readonly Value[]): Map<Value, Value> {
  const d = new Differentiation(g, wrt, ALL);
  if (d.shapes.of(of).length > 0) throw new Error('only a scalar has a gradient');
  d.give(of, [{ factor: 1, shape: [] }]);
  for (const made of [...g.nodes].reverse()) d.through(made);
  const found = new Map<Value, Value>();
  for (const value of wrt) {
    const parts = d.partsOf(value);
    if (parts.length > 0) found.set(value, d.whole(parts, value));
  }
  return found;
}
