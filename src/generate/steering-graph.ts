import { type Hook, type HookFunction, hookAt, noHook } from '../lm/hooks.js';
import type { GraphBuilder, Value } from '../onnx/graph.js';
import { decoderNorms, type ParameterValues } from '../sae/architecture.js';
import { forward, normalized, storedParameters } from '../sae/forward-graph.js';
import { ARCHITECTURES, parametersOf } from '../sae/registry.js';
import { PLAIN, parameterShape } from '../sae/sae.js';
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
    const { g, sae, w, where } = this;
    const { dIn, dOut } = sae.files;
    const x = g.reshape(seen, -1, dIn);
    const shape = g.op('Shape', [seen], { start: 0, end: 2 });
    const byText = (flat: Value, width: number) => g.op('Reshape', [flat, g.concat([shape, g.ints(width)], 0)]);
    const f = byText(this.chosenFeatures(x), -1);
    const over = (rows: Value) => g.op('Unsqueeze', [rows, g.ints(1)]);
    const more = g.add(g.mul(g.sub(over(this.scale), g.scalar(1)), f), over(this.shift));
    const step = byText(this.decodedStep(g.mul(more, where), x), dOut);
    if (sae.errorTerm) return g.add(value, step);
    const { xHat } = forward(g, sae.files, w, x);
    return g.op('Where', [g.cast(where, 'bool'), g.add(byText(xHat, dOut), step), value]);
  }

  /** f of the chosen features, [tokens, n]. */
  private chosenFeatures(x: Value): Value {
    const { g, w, features } = this;
    const { files } = this.sae;
    if (ARCHITECTURES[files.architecture].competes) return g.gather(forward(g, files, w, x).f, features, 1);
    const { dSae } = files;
    const chosen = parametersOf(files).map((name) => {
      const axis = name === 'b_dec' || name === 'W_skip' ? -1 : parameterShape(name, files).lastIndexOf(dSae);
      const ofFeatures = name === 'W_dec' ? 0 : axis;
      return [name, ofFeatures < 0 ? w[name]! : g.gather(w[name]!, features, ofFeatures)] as const;
    });
    return forward(g, files, Object.fromEntries(chosen), x).f;
  }

  /** (f′ − f) W_dec of the chosen features, as the hook has it: [tokens, d_out]. */
  private decodedStep(more: Value, x: Value): Value {
    const { g, w, features } = this;
    const { files } = this.sae;
    const { rescale_acts_by_decoder_norm, normalize_activations } = files.forward ?? PLAIN;
    const step = rescale_acts_by_decoder_norm ? g.div(more, g.gather(decoderNorms(g, w), features)) : more;
    const decoded = g.reshape(g.matmul(step, g.gather(w.W_dec!, features)), -1, files.dOut);
    return files.transcoder ? decoded : normalized(g, normalize_activations, x).restoreStep(decoded);
  }
}
