import { type Hook, type HookFunction, hookAt, noHook } from '../lm/hooks.js';
import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { ParameterValues } from '../sae/architecture.js';
import { chosenFeatures, decodedStep } from '../sae/feature-step.js';
import { forward, storedParameters } from '../sae/forward-graph.js';
import type { SaeFiles } from '../sae/saelens.js';

/** An SAE some of whose features are changed in a running model. */
export interface SteeredSae {
  readonly files: SaeFiles;
  /** Whose value is changed: the SAE's own hook, or that of a transcoder's output. */
  readonly hook: Hook;
  /** What it reads. */
  readonly input: Hook;
  /** Does x − x̂ stay as it was? Else the value becomes the changed reconstruction. */
  readonly errorTerm: boolean;
}

/** Name of the input float32 [batch, tokens]: 1 where features are changed, else 0. */
export const STEERED = 'steered';

/** Names of inputs of SAE k: numbers of features, int64 [n]; and f′ = scale · f + shift, float32 [batch, n] each. */
export const changeInputs = (k: number) => ({
  features: `sae${k}/features`,
  scale: `sae${k}/scale`,
  shift: `sae${k}/shift`,
});

/**
 * Changes chosen features of SAEs where a model computes: with f′ = scale · f + shift of the chosen ones, x becomes
 * x + (f′ − f) W_dec, so that the error x − x̂ stays as it was, exactly and without being computed; or, without the error
 * term, decode(f′). Features of an architecture in which they do not compete are computed alone. SAEs of one hook all
 * read its value before any change; one further up reads what was changed before it.
 *
 * @param tokens name of the dimension of tokens in the graph, or their number
 */
export function steeringHook(g: GraphBuilder, saes: readonly SteeredSae[], tokens: string | number): HookFunction {
  if (saes.length === 0) return noHook;
  const steered = g.input(STEERED, 'float32', ['batch', tokens]);
  const where = g.op('Unsqueeze', [steered, g.ints(2)]);
  const changes = saes.map((sae, k) => new FeatureChange(g, sae, k, where));
  const read = new Map<string, Value>();
  const names = new Set(saes.flatMap(({ hook, input }) => [hook.name, input.name]));
  return hookAt(names, (name, value) => {
    let changed = value;
    for (const [k, { hook, input }] of saes.entries()) {
      if (hook.name !== name) continue;
      const seen = input.name === name ? value : read.get(input.name);
      if (seen === undefined) throw new Error(`${input.name} is computed after ${name}`);
      changed = changes[k]!.apply(changed, seen);
    }
    read.set(name, changed);
    return changed;
  });
}

/** What is changed of one SAE. */
class FeatureChange {
  private readonly w: ParameterValues;
  private readonly features: Value;
  private readonly scale: Value;
  private readonly shift: Value;

  /** @param where float32 [batch, tokens, 1], 1 where features are changed */
  constructor(
    private readonly g: GraphBuilder,
    private readonly sae: SteeredSae,
    k: number,
    private readonly where: Value,
  ) {
    const names = changeInputs(k);
    this.w = storedParameters(g, sae.files, `sae${k}/`);
    this.features = g.input(names.features, 'int64', [`features${k}`]);
    this.scale = g.input(names.scale, 'float32', ['batch', `features${k}`]);
    this.shift = g.input(names.shift, 'float32', ['batch', `features${k}`]);
  }

  /**
   * @param value of the hook, float32 [batch, tokens, width], changed by other SAEs or not
   * @param seen what the SAE reads, float32 [batch, tokens, d_in]
   */
  apply(value: Value, seen: Value): Value {
    const { g, sae, w, where, features } = this;
    const { dIn, dOut } = sae.files;
    const x = g.reshape(seen, -1, dIn);
    const shape = g.op('Shape', [seen], { start: 0, end: 2 });
    const byText = (flat: Value, width: number) => g.op('Reshape', [flat, g.concat([shape, g.ints(width)], 0)]);
    const f = byText(chosenFeatures(g, sae.files, w, features, x), -1);
    const over = (rows: Value) => g.op('Unsqueeze', [rows, g.ints(1)]);
    const more = g.add(g.mul(g.sub(over(this.scale), g.scalar(1)), f), over(this.shift));
    const step = byText(decodedStep(g, sae.files, w, { features, more: g.mul(more, where), x }), dOut);
    if (sae.errorTerm) return g.add(value, step);
    const { xHat } = forward(g, sae.files, w, x);
    return g.op('Where', [g.cast(where, 'bool'), g.add(byText(xHat, dOut), step), value]);
  }
}
