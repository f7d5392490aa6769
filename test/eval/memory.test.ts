import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chunkRows, evenChunks } from '../../src/eval/splice-graph.js';
import { contextsInMemory } from '../../src/eval/splice-pass.js';

const MIB = 2 ** 20;

test('logits of one chunk stay bounded whatever the vocabulary', () => {
  for (const [vocabulary, variants] of [
    [97, 2],
    [4096, 2],
    [256_000, 3],
    [262_208, 40],
  ] as const) {
    const rows = chunkRows(vocabulary, variants);
    assert.ok(rows >= 1 && rows * vocabulary * variants * 4 <= 128 * MIB, `${rows} rows of ${vocabulary}`);
  }
});

test('on a GPU chunks are as large as its free memory allows, up to where the unembedding no longer counts', () => {
  const GIB = 2 ** 30;
  // Gemma 7B and 11 variants: 93 chunks a context on the CPU.
  assert.equal(chunkRows(256_000, 11), 11);
  assert.equal(chunkRows(256_000, 11, 100 * GIB), 95);
  assert.equal(chunkRows(256_000, 11, 3 * GIB), 23);
  assert.equal(chunkRows(256_000, 11, 0), 11);
  assert.equal(chunkRows(256_000, 2, 100 * GIB), 524);
});

test('chunks are even, none longer than allowed, and padded by less than a row each', () => {
  for (const [rows, most] of [
    [0, 10],
    [1, 10],
    [10, 10],
    [11, 10],
    [2032, 170],
    [999, 1],
  ] as const) {
    const { chunks, chunk } = evenChunks(rows, most);
    assert.ok(chunk <= most && chunks * chunk >= rows && chunks * chunk - rows <= Math.max(0, chunks - 1), `${rows}`);
  }
});

test("the model's widest value stays bounded whatever the batch", () => {
  for (const [mlp, context, variants] of [
    [768, 256, 3],
    [24_576, 1024, 3],
    [36_864, 1024, 20],
    [24_576, 8192, 3],
  ] as const) {
    const contexts = contextsInMemory(mlp, context, variants);
    assert.ok(contexts >= 1, `${contexts} contexts`);
    assert.ok(contexts === 1 || contexts * variants * context * mlp * 4 <= 768 * MIB, `${contexts} contexts`);
  }
  // The features of an SAE may be wider than the MLP over all variants.
  assert.equal(contextsInMemory(24_576, 1024, 3, 262_144), 1);
  assert.equal(contextsInMemory(768, 256, 3, 262_144), 3);
  // Gemma 7B with one SAE: the number of contexts that docs/explanation/decisions.md gives.
  assert.equal(contextsInMemory(24_576, 1024, 3), 2);
});
