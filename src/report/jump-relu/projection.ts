import { ActivationBatches } from '../../activations/batches.js';
import { fromBfloat16 } from '../../activations/bfloat16.js';
import type { Store } from '../../activations/store.js';
import { Interrupted } from '../../config/refusal.js';
import type { Progress, StopRequest } from '../../progress/progress.js';
import type { Sae } from '../../sae/sae.js';
import { halfToFloat } from '../../safetensors/read.js';

/** A feature on many tokens: where x lies along its direction, and what the encoder says. */
export interface FeatureOnTokens {
  /** [tokens] (x − b_dec) · d_j, d_j the feature's decoder row. */
  projection: Float64Array;
  /** [tokens] f_j; 0 where the feature is off. */
  f: Float64Array;
}

/** The rows of one encoder unit that its activation depends on. */
interface Unit {
  /** Column j of W_enc, and row j of W_dec: [d_in] each. */
  encoder: Float64Array;
  decoder: Float64Array;
  b_dec: Float64Array;
  /** f_j from p = (x − b_dec) · W_enc[:, j]. */
  activation: (p: number) => number;
}

/** Feature j of an SAE by itself. The formulas are those of sae/forward-graph.ts. */
export function unitOf({ architecture, dIn, dSae, parameters }: Sae, j: number): Unit {
  const { W_enc, W_dec, b_dec } = parameters;
  const of = (name: 'b_gate' | 'b_mag' | 'r_mag' | 'b_enc') => parameters[name]![j]!;
  const gated = () => {
    const [gate, magnitude, gain] = [of('b_gate'), of('b_mag'), Math.exp(of('r_mag'))];
    return (p: number) => (p + gate > 0 ? Math.max(0, gain * p + magnitude) : 0);
  };
  const standard = () => {
    const bias = of('b_enc');
    return (p: number) => Math.max(0, p + bias);
  };
  return {
    encoder: Float64Array.from({ length: dIn }, (_, i) => W_enc![i * dSae + j]!),
    decoder: Float64Array.from(W_dec!.subarray(j * dIn, (j + 1) * dIn)),
    b_dec: Float64Array.from(b_dec!),
    activation: architecture === 'gated' ? gated() : standard(),
  };
}

/** All values of binary16, by their bits: a look is quicker than the arithmetic, and there are few. */
function halves(): Float32Array {
  return Float32Array.from({ length: 2 ** 16 }, (_, bits) => halfToFloat(bits));
}

/**
 * The feature on at most `limit` rows of the store, whole shards in an order that the seed sets, until there are enough.
 *
 * @throws Interrupted where the user asks to stop
 */
export async function featureOnTokens(
  sae: Sae,
  j: number,
  store: Store,
  { tokens: limit, seed }: { tokens: number; seed: number },
  progress: Progress,
  stop: StopRequest,
): Promise<FeatureOnTokens> {
  const { dtype, d_in: d, rows } = store.manifest;
  const unit = unitOf(sae, j);
  const total = Math.min(limit, rows);
  const found = { projection: new Float64Array(total), f: new Float64Array(total) };
  const half = dtype === 'float16' ? halves() : undefined;
  progress.begin(`feature ${j}`, total, 'token');
  let done = 0;
  for await (const { activation, token } of new ActivationBatches(store, 'shuffled', seed).inputs(0)) {
    const values = dtype === 'bfloat16' ? new Float32Array(activation.length) : activation;
    if (dtype === 'bfloat16') fromBfloat16(activation as Uint16Array, values as Float32Array);
    for (let row = 0; row < token.length && done < total; row++, done++) {
      let [p, projection] = [0, 0];
      for (let i = 0; i < d; i++) {
        const raw = values[row * d + i]!;
        const centred = (half === undefined ? raw : half[raw]!) - unit.b_dec[i]!;
        p += centred * unit.encoder[i]!;
        projection += centred * unit.decoder[i]!;
      }
      found.projection[done] = projection;
      found.f[done] = unit.activation(p);
    }
    progress.update(done);
    if (stop.signal) throw new Interrupted(stop.signal, 'the figure was not drawn and nothing was written.');
    if (done === total) break;
  }
  progress.end();
  return found;
}
