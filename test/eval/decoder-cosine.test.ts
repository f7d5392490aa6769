import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Interrupted } from '../../src/errors/refusal.js';
import { decoderMaxCosine } from '../../src/eval/decoder-cosine.js';
import { silent } from '../../src/progress/progress.js';
import { Generator } from '../../src/random/generator.js';
import { openSae, type SaeFiles, saveSae } from '../../src/sae/saelens.js';
import { openGolden } from '../golden.js';
import { temporaryDirectory } from '../temporary.js';
import { goldenSae } from './golden-sae.js';

const D = 7;
const root = temporaryDirectory();
const never = { signal: undefined };
let counter = 0;

async function saved(W_dec: Float32Array): Promise<SaeFiles> {
  const dSae = W_dec.length / D;
  const directory = join(root, `${counter++}`);
  mkdirSync(directory);
  const [W_enc, b_dec, b_enc] = [D * dSae, D, dSae].map((n) => new Float32Array(n)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  await saveSae(
    directory,
    { architecture: 'standard', dIn: D, dOut: D, dSae, parameters: { W_enc, W_dec, b_dec, b_enc } },
    {},
  );
  return openSae(directory);
}

/** Every pair, one after another. */
function plain(W: Float32Array) {
  const row = (i: number) => [...W.subarray(i * D, (i + 1) * D)];
  const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const n = W.length / D;
  const largest = Array.from({ length: n }, (_, i) => {
    const others = [...Array(n).keys()].filter((j) => j !== i);
    return Math.max(...others.map((j) => dot(row(i), row(j)) / Math.sqrt(dot(row(i), row(i)) * dot(row(j), row(j)))));
  });
  return { mean: largest.reduce((a, b) => a + b, 0) / n, largest: Math.max(...largest) };
}

test('largest cosines equal the plain loop, whatever the blocks and the norms', async () => {
  const random = new Generator(3);
  const W = Float32Array.from({ length: 23 * D }, (_, i) => (1 + Math.floor(i / D)) * random.normal());
  const expected = plain(W);
  const sae = await saved(W);
  // Blocks of one row, with a short one at the end, without, and all in one.
  for (const block of [1, 4, 5, 23, 100]) {
    const { mean, largest } = await decoderMaxCosine(sae, { threads: 1 }, silent, never, block);
    assert.ok(Math.abs(mean - expected.mean) < 1e-6, `${block}: ${mean}, not ${expected.mean}`);
    assert.ok(Math.abs(largest - expected.largest) < 1e-6, `${block}: ${largest}, not ${expected.largest}`);
  }
});

test('the decoder of the golden SAE has the cosines of PyTorch', async () => {
  const golden = await openGolden('metrics');
  const { mean, largest } = await decoderMaxCosine(goldenSae('gated'), { threads: 1 }, silent, never, 10);
  assert.ok(Math.abs(mean - (await golden.scalar('gated/decoder_max_cosine/mean'))) < 1e-6);
  assert.ok(Math.abs(largest - (await golden.scalar('gated/decoder_max_cosine/largest'))) < 1e-6);
});

test('known decoders: twins, opposites, rows of zeros, and one row alone', async () => {
  const rows = (...of: number[][]) =>
    Float32Array.from(of.flatMap((row) => [...row, ...Array(D - row.length).fill(0)]));
  const measure = async (W: Float32Array) => decoderMaxCosine(await saved(W), { threads: 1 }, silent, never, 2);
  assert.deepEqual(await measure(rows([1], [0, 1], [3])), { mean: 2 / 3, largest: 1 });
  assert.deepEqual(await measure(rows([1], [-2])), { mean: -1, largest: -1 });
  assert.deepEqual(await measure(rows([0], [1], [-1])), { mean: 0, largest: 0 });
  assert.deepEqual(await measure(rows([1])), { mean: Number.NaN, largest: Number.NaN });
});

test('it stops on request', async () => {
  await assert.rejects(decoderMaxCosine(goldenSae('gated'), {}, silent, { signal: 'SIGINT' }), Interrupted);
});
