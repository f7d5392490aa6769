import type { Checkpoint } from '../lm/checkpoint.js';
import type { Placement } from '../lm/placement.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import type { Change } from '../sae/feature-changes.js';
import { directGraph, readingGraph, readingOutputs } from './attribution-graphs.js';
import { rowChanges } from './changes.js';
import { largestIds } from './sampling.js';
import type { SteeredSae } from './steering-graph.js';
import { Stepper } from './stepper.js';

/** A feature that fires at a token. */
export interface Active {
  /** Index of the SAE. */
  readonly of: number;
  readonly feature: number;
  readonly position: number;
  /** f */
  readonly activation: number;
  /** |f W_dec|, the norm of its output. */
  readonly norm: number;
}

export interface Attributed extends Omit<Active, 'of' | 'norm'> {
  readonly of: number;
  readonly norm: number;
  /**
   * By gradient, f · ∂logit/∂f; by ablation, the decrease of the logit when f is set to 0 at that token; or equal to
   * `direct`.
   */
  readonly effect: number;
  /**
   * Its contribution on the path that skips all blocks above; null if there is no linear path from the hook to the
   * residual stream.
   */
  readonly direct: number | null;
}

/** Orders the largest effects first. */
export const byEffect = (a: Attributed, b: Attributed): number =>
  Math.abs(b.effect) - Math.abs(a.effect) || a.feature - b.feature || a.position - b.position;

/** A text, and the SAEs whose features are examined in it. */
export interface AttributedText {
  readonly checkpoint: Checkpoint;
  readonly placement: Placement;
  readonly threads: number;
  readonly saes: readonly SteeredSae[];
  /** Up to the predicting position. */
  readonly tokens: readonly number[];
}

/** The logit to attribute; with `minus`, its difference from another token's. */
export interface AttributedLogit {
  readonly token: number;
  readonly minus?: number;
}

const targetOf = ({ token, minus }: AttributedLogit, logits: Float32Array) =>
  logits[token]! - (minus === undefined ? 0 : logits[minus]!);

/**
 * Every feature that fires in the text, and the model's prediction after it.
 *
 * @param first token whose features are examined: 1 if the text begins with BOS
 */
export async function readText({ checkpoint, placement, threads, saes, tokens }: AttributedText, first: number) {
  const { Tensor } = await onnxRuntime();
  const graph = readingGraph(checkpoint, tokens.length, placement, saes);
  const session = await openSession(graph, { device: placement.device, threads });
  try {
    const feed = new Tensor('int64', BigInt64Array.from(tokens, BigInt), [1, tokens.length]);
    const outputs = await session.run({ tokens: feed });
    const data = (name: string) => outputs[name]!.data as Float32Array;
    const logits = data('logits');
    const active: Active[] = [];
    for (const [of, { files }] of saes.entries()) {
      const [f, norms] = [data(readingOutputs(of).f), data(readingOutputs(of).norms)];
      for (let at = first * files.dSae; at < f.length; at++) {
        const activation = f[at]!;
        if (!(activation > 0)) continue;
        const [position, feature] = [Math.floor(at / files.dSae), at % files.dSae];
        active.push({ of, feature, position, activation, norm: activation * norms[feature]! });
      }
    }
    return { active, logits, likeliest: largestIds(logits, 1)[0]!, divisor: data('divisor')[0]! };
  } finally {
    await session.release();
  }
}

/** The `most` activations with the largest output norms. */
export function strongest(active: readonly Active[], most: number): Active[] {
  const norms = Float32Array.from(active, ({ norm }) => norm);
  return largestIds(norms, most).map((i) => active[i]!);
}

/** Tokens per forward pass. */
const TOKENS_AT_ONCE = 4096;

/** The decrease of the logit when each activation alone is set to 0. */
export async function ablationEffects(
  { checkpoint, placement, threads, saes, tokens }: AttributedText,
  chosen: readonly Active[],
  target: AttributedLogit,
  passed: (done: number) => Promise<void>,
): Promise<number[]> {
  const used = [...new Set(chosen.map(({ of }) => of))].sort((a, b) => a - b);
  const stepper = await Stepper.open(checkpoint, {
    ...{ placement, threads, longest: tokens.length },
    saes: used.map((of) => saes[of]!),
  });
  const effects: number[] = [];
  const most = Math.max(1, Math.floor(TOKENS_AT_ONCE / tokens.length) - 1);
  try {
    for (let from = 0; from < chosen.length; from += most) {
      const part = chosen.slice(from, from + most);
      const features = distinct(part, used);
      // The first row is the unchanged text, so that rounding is the same in all of them.
      const rows = [null, ...part].map((ablated) =>
        rowChanges(
          features.map(
            ({ sae, feature }): Change =>
              ablated?.feature === feature && used.indexOf(ablated.of) === sae
                ? { sae, feature, operation: 'ablate', strength: 0 }
                : { sae, feature, operation: 'scale', strength: 1 },
          ),
          used.length,
          (position) => position === ablated?.position,
        ),
      );
      stepper.begin({ pads: rows.map(() => 0), changes: rows });
      const logits = await stepper.step(rows.flatMap(() => tokens));
      const width = logits.length / rows.length;
      const values = rows.map((_, i) => targetOf(target, logits.subarray(i * width, (i + 1) * width)));
      effects.push(...values.slice(1).map((value) => values[0]! - value));
      await passed(effects.length);
    }
  } finally {
    await stepper.release();
  }
  return effects;
}

/** The distinct features of activations; for an SAE without any, its first feature, left unchanged. */
function distinct(part: readonly Active[], used: readonly number[]): { sae: number; feature: number }[] {
  return used.flatMap((of, sae) => {
    const features = [...new Set(part.filter((one) => one.of === of).map(({ feature }) => feature))];
    return (features.length > 0 ? features : [0]).map((feature) => ({ sae, feature }));
  });
}

/** Features whose direct effects are computed at a time: they start as effects on the whole vocabulary. */
const FEATURES_AT_ONCE = 32;

/** What each activation adds to the logit on the direct path; 0 for activations at earlier tokens. */
export async function directEffects(
  { checkpoint, placement, threads, saes, tokens }: AttributedText,
  chosen: readonly Active[],
  { token, minus }: AttributedLogit,
  divisor: number,
): Promise<(number | null)[]> {
  const { Tensor } = await onnxRuntime();
  const last = tokens.length - 1;
  const effects = chosen.map((): number | null => 0);
  const int64 = (values: readonly number[]) => new Tensor('int64', BigInt64Array.from(values, BigInt), [values.length]);
  for (const [of, sae] of saes.entries()) {
    const own = [...chosen.keys()].filter((i) => chosen[i]!.of === of);
    if (own.length === 0) continue;
    const graph = directGraph(checkpoint, placement, sae);
    if (graph === null) for (const i of own) effects[i] = null;
    const late = own.filter((i) => chosen[i]!.position === last);
    if (graph === null || late.length === 0) continue;
    const session = await openSession(graph, { device: placement.device, threads });
    try {
      for (let from = 0; from < late.length; from += FEATURES_AT_ONCE) {
        const part = late.slice(from, from + FEATURES_AT_ONCE);
        const ids = minus === undefined ? [token] : [token, minus];
        const outputs = await session.run({ features: int64(part.map((i) => chosen[i]!.feature)), ids: int64(ids) });
        const found = outputs.effects!.data as Float32Array;
        for (const [row, i] of part.entries()) {
          const perUnit = found[row * ids.length]! - (minus === undefined ? 0 : found[row * ids.length + 1]!);
          effects[i] = (chosen[i]!.activation * perUnit) / divisor;
        }
      }
    } finally {
      await session.release();
    }
  }
  return effects;
}
