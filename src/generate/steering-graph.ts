import { type Hook, type HookFunction, hookAt, noHook } from '../lm/hooks.js';
import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { ParameterValues } from '../sae/architecture.js';
import { chosenFeatures, decodedStep } from '../sae/feature-step.js';
import { forward, storedParameters } from '../sae/forward-graph.js';
import type { SaeFiles } from '../sae/saelens.js';

/** An SAE whose features are changed in a running model. */
export interface SteeredSae {
  readonly files: SaeFiles;
  /** The hook that is changed: the SAE's own, or a transcoder's output hook. */
  readonly hook: Hook;
  /** The hook it reads. */
  readonly input: Hook;
  /** Keep the error x − x̂? Otherwise the value becomes the changed reconstruction. */
  readonly errorTerm: boolean;
}

/** Name of the input float32 [batch, tokens]: 1 where features are changed, else 0. */
export const STEERED = 'steered';

/** Input names for SAE k: feature numbers, int64 [n]; and f′ = scale · f + shift, float32 [batch, n] each. */
export const changeInputs = (k: number) => ({
  features: `sae${k}/features`,
  scale: `sae${k}/scale`,
  shift: `sae${k}/shift`,
});

/**
 * Changes chosen features of SAEs within the model: with f′ = scale · f + shift for them, x becomes x + (f′ − f) W_dec,
 * which keeps the error x − x̂ exactly, without computing it; or, without the error term, decode(f′). In architectures
 * whose features do not compete, only the chosen ones are computed. SAEs at one hook all read its value before any
 * change; one at a later hook reads the changed values.
 *
 * @param tokens the graph's token dimension: its name or its size
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

/** Changes to one SAE. */
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
   * @param value of the hook, float32 [batch, tokens, width], possibly changed by other SAEs
   * @param seen activation the SAE reads, float32 [batch, tokens, d_in]
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
