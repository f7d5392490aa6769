import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { ParameterValues } from '../sae/architecture.js';
import type { ChangeOfSae } from '../sae/feature-changes.js';
import { chosenFeatures, decodedStep } from '../sae/feature-step.js';
import type { SaeFiles } from '../sae/saelens.js';

/** For SAE k, float32 [spliced]: 1 where f′ ≠ f for a chosen feature, else 0; NaN if the change overflows. */
export const changedOutput = (k: number) => `sae${k}/changed`;

/**
 * x with features of SAE k changed and its error term kept, x + (f′ − f) W_dec. The indicator of changed positions
 * becomes an output.
 *
 * @param input activation that the SAE reads, [spliced, d_in]
 * @param x activation to change, [spliced, width]
 */
export function changedValue(
  g: GraphBuilder,
  { sae, k, w, changes }: { sae: SaeFiles; k: number; w: ParameterValues; changes: ChangeOfSae },
  input: Value,
  x: Value,
): Value {
  const row = (name: string, values: readonly number[]) =>
    g.table(`sae${k}/${name}`, [1, values.length], Float32Array.from(values));
  const features = g.ints(...changes.features);
  const f = chosenFeatures(g, sae, w, features, input);
  const factors = changes.scale.map((scale) => scale - 1);
  const more = g.add(g.mul(f, row('more', factors)), row('shift', changes.shift));
  const value = g.add(x, decodedStep(g, sae, w, { features, more, x: input }));
  // Norms divide by |x′|: if its square overflows they give 0, and plausible losses are meaningless.
  const overflow = g.mul(g.reduceSumSquare(value, [1]), g.scalar(0));
  const changed = g.positive(g.reduceMax(g.op('Abs', [more]), [1]));
  g.output(changedOutput(k), g.add(changed, overflow), 'float32', ['spliced']);
  return value;
}
