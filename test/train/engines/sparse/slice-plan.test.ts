import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SparseForm } from '../../../../src/sae/architecture.js';
import type { EngineSettings } from '../../../../src/train/engines/engine.js';
import { planWorkers } from '../../../../src/train/engines/sparse/engine.js';
import { BLOCKS } from '../../../../src/train/engines/sparse/kernels.js';
import {
  candidateCapacity,
  entryCapacity,
  entryLimit,
  LARGEST_MEMORY,
  listCapacity,
  padded,
  planSlice,
} from '../../../../src/train/engines/sparse/memory.js';
import { formOf, settled } from '../../../../src/train/engines/state.js';

const SETTINGS: EngineSettings = {
  architecture: 'gated',
  dIn: 20,
  dSae: 300,
  batch: 50,
  batchDType: 'float16',
  scale: 1,
  beta1: 0,
  beta2: 0.999,
  deadWindow: 1,
};

const TOPK: SparseForm = { select: { kind: 'k-per-token', bias: 'b_enc', k: 7 }, rule: 'relu', penalty: 'none' };

const plan = (settings: EngineSettings, features: number, workers = 1) =>
  planSlice({ settings: settled(settings), form: formOf('sparse', settings), features, workers });

test('rows are padded to whole cache lines', () => {
  assert.deepEqual([1, 15, 16, 17, 2304].map(padded), [16, 16, 16, 32, 2304]);
});

test('a quarter of a strip’s entries may be listed, whole strips and the rest each rounded up', () => {
  assert.equal(entryLimit(256, 50), 3200);
  assert.equal(entryLimit(3, 3), 3);
  assert.equal(entryCapacity(256, 50), 3200);
  assert.equal(entryCapacity(300, 50), 3200 + 550);
  assert.equal(entryCapacity(257, 3), 192 + 1);
  assert.equal(entryCapacity(0, 50), 0);
});

test('entries of screened candidates always fit the strip’s limit', () => {
  for (const [rows, batch] of [
    [1, 1],
    [3, 3],
    [255, 7],
    [256, 4096],
  ] as const) {
    assert.ok(candidateCapacity(rows, batch) <= entryLimit(rows, batch));
  }
});

/** Bytes of arrays at cache lines of 64. */
function lines(...bytes: number[]): number {
  return bytes.reduce((total, n) => total + Math.ceil(n / 64) * 64, 0);
}

test('the planned bytes of a gated slice with β1 = 0 are those counted by hand', () => {
  // d_in 20 is padded to 32, the batch of 50 to 64; 300 features are a strip of 256 and one of 44.
  const [features, d, B, Bp] = [300, 32, 50, 64];
  const numbers = 4 * features;
  const rows = numbers * d;
  const entries = 4 * (3200 + 550 + 16);
  const wanted =
    64 + // address 0 stays unused
    lines(rows, rows, rows, rows, 4 * d, 4 * d) + // W_enc, W_dec and b_dec, each with its v
    6 * lines(numbers) + // b_gate, b_mag and r_mag, each with its v
    4 * lines(numbers) + // since_fired, updated, fired, factor
    lines(2 * B * 20) + // the batch, unpadded float16
    4 * lines(4 * Bp * d) + // xc, r, r_aux, received
    lines(Bp * d, 3 * 4 * Bp) + // x_q, x_numbers
    lines(4 * 2 * 256 * Bp) + // tile
    lines(256 * d, 4 * 256, 4 * 256, 4 * 256) + // w_q, w_inverse, w_error, w_length
    lines(4 * 257, 4 * (3200 + 16), 4 * 8) + // candidate_start, candidates, dots
    lines(4 * 301, 4 * 51, 24) + // start, token_start, totals
    5 * lines(entries) + // token, p, feature, f, g
    5 * lines(4 * d) + // x_factors, g_enc, g_dec, pull, column
    lines(16) + // sums
    lines(...Object.values(BLOCKS).map((fields) => 4 * Object.keys(fields).length)) +
    lines(4 * 7, 4 * 8) + // the second Quantised and Side
    lines(4 * 128 * d, 4 * 128 * d, 4 * 4 * 256); // strip_enc, strip_dec, strip_sums
  assert.equal(plan(SETTINGS, features).bytes, wanted);
});

test('first moments, float32 batches and a standard SAE change the plan by what they need', () => {
  const [d, B, Bp] = [32, 50, 64];
  const bytes = (more: Partial<EngineSettings>) => plan({ ...SETTINGS, ...more }, 300).bytes;
  const [rows, numbers] = [4 * 300 * d, 4 * 300];
  const gated = bytes({});
  assert.equal(bytes({ beta1: 0.9 }) - gated, lines(rows, rows, 4 * d, numbers, numbers, numbers));
  assert.equal(bytes({ batchDType: 'float32' }) - gated, lines(4 * B * 20) - lines(2 * B * 20));
  const less = gated - bytes({ architecture: 'standard' });
  // b_mag and r_mag with their v, r_aux, and g.
  assert.equal(less, 4 * lines(numbers) + lines(4 * Bp * d) + lines(4 * (3200 + 550 + 16)));
});

test('untrained parameters have no moments, and r_aux exists only with an auxiliary loss', () => {
  const d = 32;
  const [rows, numbers] = [4 * 300 * d, 4 * 300];
  const bytes = (more: Partial<EngineSettings>) => plan({ ...SETTINGS, beta1: 0.9, ...more }, 300).bytes;
  const gated = bytes({});
  const frozen = 2 * lines(rows, rows, 4 * d, numbers);
  assert.equal(gated - bytes({ trained: ['r_mag', 'b_mag'] }), frozen);
  assert.equal(gated - bytes({ options: { ablate: ['no-auxiliary', 'l1-on-f'] } }), lines(4 * 64 * d));
  assert.equal(bytes({ options: { ablate: ['unfrozen-decoder'] } }) - gated, lines(4 * 128 * d));
});

test('with at most k entries per token, lists hold those and a complete strip, and there are no dense passes', () => {
  const of = (more: Partial<SparseForm>, features: number) => {
    return {
      settings: settled({ ...SETTINGS, architecture: 'standard' }),
      form: { ...TOPK, ...more },
      features,
      workers: 2,
    };
  };
  assert.equal(listCapacity(of({}, 1000), 'main'), 50 * (4 * 7 + 256));
  assert.equal(listCapacity(of({}, 5), 'main'), 50 * 5);
  assert.equal(listCapacity(of({ auxK: { k: 9, coefficient: 1 } }, 300), 'dead'), 50 * (4 * 9 + 256));
  const slice = planSlice(of({ auxK: { k: 9, coefficient: 1 } }, 300));
  assert.ok(slice.has('dead/top') && slice.has('r_aux') && !slice.has('strip_enc'));
  assert.ok(!planSlice(of({}, 300)).has('dead/top') && !planSlice(of({}, 300)).has('r_aux'));
  // Heaps of all workers for a share of the batch, and one more.
  assert.ok(slice.at('heaps').length >= 9 * (2 * Math.ceil(50 / 2) + 1));
});

test('a target of another width has separate arrays, with rows of its length', () => {
  const slice = plan({ ...SETTINGS, dOut: 70 }, 300);
  const lengths = Object.fromEntries(
    ['W_enc', 'W_dec', 'b_dec', 'xc', 'yc', 'r', 'received'].map((n) => [n, slice.at(n).length]),
  );
  assert.deepEqual(lengths, {
    ...{ W_enc: 300 * 32, W_dec: 300 * 80, b_dec: 80, xc: 64 * 32, yc: 64 * 80, r: 64 * 80, received: 64 * 80 },
  });
  assert.ok(!plan(SETTINGS, 300).has('yc'));
});

test('a slice smaller than a strip plans a strip of its padded size', () => {
  const slice = plan(SETTINGS, 20);
  assert.equal(slice.at('tile').length, 2 * 32 * 64);
  assert.equal(slice.at('w_q').length, 32 * 32);
  assert.equal(slice.at('strip_enc').length, 16 * 32);
  assert.equal(slice.at('W_enc').length, 20 * 32);
});

test('the fewest workers whose slices fit a memory are planned, and the largest size is answered at once', () => {
  const settings = { ...SETTINGS, dIn: 2304, dSae: 2 ** 20, threads: 1, batch: 4096 };
  const { workers } = planWorkers(settings);
  const bytes = (count: number) => plan(settings, Math.ceil(settings.dSae / count), count).bytes;
  assert.ok(workers > 1 && bytes(workers) <= LARGEST_MEMORY && bytes(workers - 1) > LARGEST_MEMORY);
  const largest = { ...SETTINGS, dSae: Number.MAX_SAFE_INTEGER };
  assert.ok(planWorkers(largest).bytes > 2 ** 60);
  assert.ok(planWorkers({ ...largest, batch: 2 ** 40 }).bytes > 2 ** 60);
  assert.equal(entryCapacity(Number.MAX_SAFE_INTEGER, 4), Number.MAX_SAFE_INTEGER);
});
