import { createHash } from 'node:crypto';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeShard, encodeShard } from '../../src/activations/arrow-rows.js';
import type { Manifest } from '../../src/activations/manifest.js';
import { Generator } from '../../src/random/generator.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { widen } from '../../src/safetensors/floats.js';
import { runForward } from '../sae/run-forward.js';

/** How activations differ from a store's own. */
export interface Change {
  /** |μ| / |σ| of a constant vector that is added to all of them. */
  readonly gamma?: number;
  /** Share of them that is then multiplied by LONGER. */
  readonly long?: number;
}
const LONGER = 12;

/** A copy of a store in float32 whose activations are changed. */
export function changedActivations(store: string, to: string, { gamma = 0, long = 0 }: Change): string {
  cpSync(store, to, { recursive: true });
  const path = join(to, 'manifest.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as Manifest;
  const { d_in: d, dtype, shards } = manifest;
  const all = shards.map(({ file }) => {
    const rows = decodeShard(readFileSync(join(to, file)), d, dtype, file);
    return { file, rows, x: Float32Array.from(widen(rows.activation, dtype)) };
  });
  const constant = constantVector(Float32Array.from(all.flatMap(({ x }) => [...x])), d, gamma);
  const every = long > 0 ? Math.round(1 / long) : Number.POSITIVE_INFINITY;
  let [row, norms] = [0, 0];
  for (const [shard, { file, rows, x }] of all.entries()) {
    for (let k = 0; k < x.length; k += d, row++) {
      const factor = row % every === every - 1 ? LONGER : 1;
      for (let i = 0; i < d; i++) x[k + i] = factor * (x[k + i]! + constant[i]!);
      norms += Math.hypot(...x.subarray(k, k + d));
    }
    const bytes = encodeShard({ ...rows, activation: x }, d, 'float32');
    writeFileSync(join(to, file), bytes);
    Object.assign(shards[shard]!, {
      bytes: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
  }
  writeFileSync(path, JSON.stringify({ ...manifest, dtype: 'float32', mean_norm: norms / row }));
  return to;
}

/** A random vector of γ times the length of the standard deviations of x [rows × d]. */
function constantVector(x: Float32Array, d: number, gamma: number): Float64Array {
  const { variances } = moments(x, d);
  const length = gamma * Math.sqrt(variances.reduce((sum, value) => sum + value, 0));
  const random = new Generator(7);
  const direction = Float64Array.from({ length: d }, () => random.normal());
  const norm = Math.hypot(...direction);
  return direction.map((value) => (value / norm) * length);
}

function moments(x: Float32Array, d: number) {
  const rows = x.length / d;
  const [mean, variances] = [new Float64Array(d), new Float64Array(d)];
  for (const [k, value] of x.entries()) mean[k % d]! += value / rows;
  for (const [k, value] of x.entries()) variances[k % d]! += (value - mean[k % d]!) ** 2 / rows;
  return { mean, variances };
}

/** What an SAE does with the activations of a store that are not multiplied. */
export interface Figures {
  readonly explainedVariance: number;
  readonly l0: number;
  /** Share of the features that fire on none. */
  readonly dead: number;
}

/** @param rows of the first shard that are tried; none of them may be multiplied */
export async function figures(sae: string, store: string, rows: number): Promise<Figures> {
  const { d_in: d, dtype, shards } = JSON.parse(readFileSync(join(store, 'manifest.json'), 'utf8')) as Manifest;
  const { file } = shards[0]!;
  const { activation } = decodeShard(readFileSync(join(store, file)), d, dtype, file);
  const x = Float32Array.from(widen(activation.slice(0, rows * d), dtype));
  const trained = await readSae(await openSae(sae));
  const { f, xHat } = await runForward(trained, x);
  const { variances } = moments(x, d);
  let error = 0;
  for (const [k, value] of x.entries()) error += (value - xHat[k]!) ** 2 / rows;
  const fires = new Uint8Array(trained.dSae);
  let active = 0;
  for (const [k, value] of f.entries()) {
    if (value <= 0) continue;
    fires[k % trained.dSae] = 1;
    active++;
  }
  const variance = variances.reduce((sum, value) => sum + value, 0);
  return {
    explainedVariance: 1 - error / variance,
    l0: active / rows,
    dead: fires.filter((value) => value === 0).length / trained.dSae,
  };
}
