import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Batches, SourceDescription } from '../../src/activations/activation-source.js';
import type { ActivationDType } from '../../src/activations/manifest.js';
import { Generator } from '../../src/random/generator.js';
import { OrdinaryRows } from '../../src/train/ordinary-rows.js';
import { remarksOn } from '../../src/train/remarks.js';
import { randomInputs } from '../sae/random-sae.js';

const about = (dtype: ActivationDType, dOut?: number): SourceDescription => ({
  ...{ place: 'rows', model: { name: 'm', fingerprint: 'f' }, hook: 'h', dIn: 2, dtype, context: 8, prependBos: true },
  ...{ corpus: 'c', rows: 5, meanNorm: 3, identity: 'i' },
  ...(dOut !== undefined && { target: { hook: 'o', dOut, meanNorm: 2 } }),
});
const limit = { multiple: 5, median: 1 };

test('a row that is too long is replaced by an ordinary one of the batch, its target with it', () => {
  const rows = new OrdinaryRows(limit, about('float32', 1));
  const batch = { x: Float32Array.of(1, 0, 9, 9, 3, 4, 0, -6, 2, 2), y: Float32Array.of(10, 20, 30, 40, 50) };
  const mixed = rows.batch(batch);
  // 5 is not above 5 × 1.
  assert.deepEqual([...mixed.x], [1, 0, 1, 0, 3, 4, 3, 4, 2, 2]);
  assert.deepEqual([...mixed.y!], [10, 10, 30, 30, 50]);
  assert.equal(rows.left, 2);
  // Others train on the same batch.
  assert.deepEqual([...batch.x], [1, 0, 9, 9, 3, 4, 0, -6, 2, 2]);
  // A batch of one's own is changed itself.
  const own = { x: batch.x.slice(), y: batch.y.slice() };
  assert.equal(rows.batch(own, true), own);
  assert.deepEqual([own.x, own.y], [mixed.x, mixed.y]);
  rows.left = 2;
  const ordinary = { x: Float32Array.of(1, 1), y: Float32Array.of(1) };
  assert.equal(rows.batch(ordinary), ordinary);
  assert.equal(rows.left, 2);
});

test('bits are read in their element type, and a batch of only long rows is refused', () => {
  const bfloat16 = new OrdinaryRows(limit, about('bfloat16')).batch({ x: Uint16Array.of(0x3f80, 0, 0x4100, 0) });
  assert.deepEqual([...bfloat16.x], [0x3f80, 0, 0x3f80, 0]);
  const rows = new OrdinaryRows(limit, about('float16'));
  // 1, 0 and 8, 0
  const mixed = rows.batch({ x: Uint16Array.of(0x3c00, 0, 0x4800, 0) });
  assert.deepEqual([...mixed.x], [0x3c00, 0, 0x3c00, 0]);
  assert.throws(() => rows.batch({ x: Uint16Array.of(0x4800, 0) }), { code: 'train/norm-limit' });
});

test('a row is too long by its norm as it is added up entry by entry, however near it is', () => {
  const d = 1003;
  const random = new Generator(8);
  for (let k = 0; k < 40; k++) {
    const row = Float32Array.from({ length: d }, () => random.normal());
    const norm = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
    // The next numbers to the norm on both sides, and others.
    for (const median of [norm, norm * (1 - 2 ** -52), norm * (1 + 2 ** -51), norm * 1.01, norm / 1.01]) {
      const rows = new OrdinaryRows({ multiple: 1, median }, { ...about('float32'), dIn: d });
      const ordinary = new Float32Array(d);
      const x = Float32Array.from([...row, ...ordinary]);
      const taken = rows.batch({ x }).x;
      assert.equal(taken === x, norm <= median, `${norm} and ${median}`);
    }
  }
});

test('estimates see no long row, and no mean norm that counts them', async () => {
  const rows = new OrdinaryRows(limit, about('float32', 1));
  assert.deepEqual([rows.about.meanNorm, rows.about.target!.meanNorm], [null, null]);
  const piece = {
    activation: Float32Array.of(1, 0, 9, 9, 3, 4),
    target: Float32Array.of(1, 2, 3),
    token: Int32Array.of(7, 8, 9),
    context: Uint32Array.of(0, 0, 1),
    pos: Uint32Array.of(1, 2, 1),
  };
  const source = {
    inputs: async function* () {
      yield piece;
    },
  } as unknown as Batches;
  for await (const seen of rows.looking(source).inputs(0)) {
    assert.deepEqual([...seen.activation, ...seen.target!], [1, 0, 3, 4, 1, 3]);
    assert.deepEqual([...seen.token, ...seen.context, ...seen.pos], [7, 9, 0, 1, 1, 1]);
  }
});

const settings = { bDecInit: 'geometric-median', init: undefined, normalize: 'mean-norm' } as const;

test('a large mean, and few rows with much of the variance, are reported once each', () => {
  const [rows, d] = [2000, 16];
  const plain = randomInputs(rows * d, 1);
  assert.deepEqual(remarksOn(plain, d, settings), []);
  const shifted = plain.map((value, k) => value + (k % d === 3 ? 100 : 0));
  const [line, ...others] = remarksOn(shifted, d, settings);
  assert.match(line!, /geometric median/);
  assert.deepEqual(others, []);
  assert.match(remarksOn(shifted, d, { ...settings, bDecInit: 'zero' })[0]!, /--b-dec-init/);
  const sinks = plain.slice();
  for (let i = 0; i < d; i++) sinks[5 * d + i]! *= 60;
  assert.match(remarksOn(sinks, d, settings)[0]!, /--max-activation-norm-multiple 5/);
  assert.match(remarksOn(sinks, d, settings, { multiple: 8, median: 4 })[0]!, /8 times the median are left out/);
});
