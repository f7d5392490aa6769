import { layerNormed } from '../activations/layer-norm.js';
import type { NormLimit } from '../activations/manifest.js';
import { ActivationSums, gammaOf } from '../activations/statistics.js';
import type { TrainConfig } from '../config/stages/train.js';
import { significant } from '../progress/progress.js';

/** Sample size. */
export const REMARK_ROWS = 16_384;

/** γ from which a run reports it: b_dec has to represent the mean from the start (Simon, Adams, Zou 2026). */
const LARGE_GAMMA = 5;
/** If fewer than this share of the activations have more than this share of the variance, that is reported. */
const [FEW, MUCH] = [0.005, 0.25];

type Settings = Pick<TrainConfig, 'bDecInit' | 'init' | 'normalize'>;

/**
 * Unusual properties of a run's inputs, and how they are handled: log lines, empty if there are none.
 *
 * @param x raw activations [rows × d]
 * @param limit rule that leaves long ones out of training
 */
export function remarksOn(x: Float32Array, d: number, config: Settings, limit?: NormLimit): string[] {
  const normed = new ActivationSums(d);
  normed.add(layerNormed(x, d), 'float32');
  const gamma = gammaOf(normed);
  const { tokens, variance } = longFew(x, d);
  const lines: string[] = [];
  if (gamma > LARGE_GAMMA) {
    lines.push(
      `The mean of the activations is ${significant(gamma, 3)} times as long as their spread (γ after LayerNorm): ${aboutMean(config)}.`,
    );
  }
  if (tokens < FEW && variance > MUCH) {
    const share = (value: number) => `${significant(100 * value, 2)} %`;
    lines.push(
      `${share(tokens)} of the activations have ${share(variance)} of their variance: ${aboutLong(config, limit)}.`,
    );
  }
  return lines;
}

function aboutMean({ bDecInit, init }: Settings): string {
  if (init !== undefined) return 'b_dec is that of --init';
  if (bDecInit !== 'zero') return `b_dec starts at their ${bDecInit.replace('-', ' ')}`;
  return 'b_dec starts at zero and many features will be dead; omit --b-dec-init to start it at their geometric median';
}

function aboutLong({ normalize }: Settings, limit?: NormLimit): string {
  if (limit) return `those longer than ${limit.multiple} times the median are left out`;
  const scales = normalize === 'per-dimension' ? '; they do not affect the scale of each dimension' : '';
  return `they are used in training${scales}; --max-activation-norm-multiple 5 leaves out those 5 times as long as the median`;
}

/** The smallest share of rows with more than MUCH of Σ|x − μ|², and their share of it. */
function longFew(x: Float32Array, d: number): { tokens: number; variance: number } {
  const sums = new ActivationSums(d);
  sums.add(x, 'float32');
  const mean = sums.mean();
  const spread = Float64Array.from({ length: sums.rows }, (_, row) => {
    let squares = 0;
    for (let i = 0; i < d; i++) squares += (x[row * d + i]! - mean[i]!) ** 2;
    return squares;
  })
    .sort()
    .reverse();
  const whole = spread.reduce((sum, value) => sum + value, 0);
  let held = 0;
  for (const [i, value] of spread.entries()) {
    held += value;
    if (held > MUCH * whole) return { tokens: (i + 1) / spread.length, variance: held / whole };
  }
  return { tokens: 1, variance: 1 };
}
