/**
 * A start of training steps from random weights, for those that compare them on a GPU machine without NumPy:
 *
 *     node dist/bench/gpu-start.js --d 3072 --n 131072 --batch 4096 --l0 64 --out DIR [--rows 65536]
 *
 * Writes DIR/start.safetensors as bench/peers/make_start.py does; with --rows instead a store of as many normal float16
 * activations, DIR/store, and the same start as an SAE, DIR/sae, for `train --init`.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { quantileAbove } from '../src/inspect/normal.js';
import { Generator } from '../src/random/generator.js';
import { PARAMETERS } from '../src/sae/registry.js';
import { parameterShape, type Sae, square } from '../src/sae/sae.js';
import { saveSae } from '../src/sae/saelens.js';
import { floatTensor, writeSafetensors } from '../src/safetensors/file.js';
import { makeStore } from './random-store.js';

const { values } = parseArgs({
  options: Object.fromEntries(
    ['d', 'n', 'batch', 'l0', 'rows', 'out'].map((name) => [name, { type: 'string' }]),
  ) as Record<string, { type: 'string' }>,
});
const [d, n, batch, l0, rows] = ['d', 'n', 'batch', 'l0', 'rows'].map((name) => Number(values[name] ?? 0)) as [
  ...[number, number, number, number, number],
];
const BATCHES = 2;
/** Normal numbers that rows are cut from: drawing each would take a minute at the paper's scale. */
const POOL = 2 ** 20;

/** Rows of norm 1, of random directions, [n, d]. */
function directions(random: Generator, pool: Float32Array): Float32Array {
  const W = new Float32Array(n * d);
  for (let j = 0; j < n; j++) {
    const row = pool.subarray(random.below(POOL - d), POOL).subarray(0, d);
    const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
    for (let i = 0; i < d; i++) W[j * d + i] = row[i]! / norm;
  }
  return W;
}

/** [n, d] → [d, n], block by block, so that what is read and written stays in the processor's cache. */
function transposed(W: Float32Array): Float32Array {
  const block = 64;
  const T = new Float32Array(W.length);
  for (let j0 = 0; j0 < n; j0 += block) {
    for (let i0 = 0; i0 < d; i0 += block) {
      for (let j = j0; j < Math.min(n, j0 + block); j++) {
        for (let i = i0; i < Math.min(d, i0 + block); i++) T[i * n + j] = W[j * d + i]!;
      }
    }
  }
  return T;
}

const random = new Generator(0);
const pool = Float32Array.from({ length: POOL }, () => random.normal());
const W_dec = directions(random, pool);
const x = Float32Array.from({ length: BATCHES * batch * d }, () => pool[random.below(POOL)]!);
// Rows are unit vectors and x is normal, and so is every pre-activation.
const gate = new Float32Array(n).fill(-quantileAbove(l0 / n));
const zeros = new Float32Array(n);
const parameters = {
  W_enc: transposed(W_dec),
  W_dec,
  b_gate: gate,
  b_mag: zeros,
  r_mag: zeros,
  b_dec: new Float32Array(d),
};
const sae: Sae = { ...square(d, n), architecture: 'gated', parameters };
if (rows > 0) {
  for (const part of ['sae', 'store']) mkdirSync(join(values.out!, part), { recursive: true });
  await saveSae(join(values.out!, 'sae'), sae, {});
  await makeStore(join(values.out!, 'store'), d, rows);
} else {
  await writeSafetensors(join(values.out!, 'start.safetensors'), [
    ...PARAMETERS.gated.map((name) => floatTensor(name, parameterShape(name, sae), sae.parameters[name]!)),
    floatTensor('batches', [BATCHES, batch, d], x),
  ]);
}
console.log(JSON.stringify({ d, n, batch, l0, rows }));
