import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { padded } from '../../../../src/train/engines/sparse/memory.js';
import { assertClose, assertSame } from './compare.js';
import { ROOM } from './entries.js';
import { type Memory, memoryOf, normalRows, normals, unset, unsetIntegers } from './memory.js';

interface Rows {
  readonly w: Float32Array;
  readonly x: Float32Array;
  readonly rows: number;
  readonly d: number;
  readonly bias: Float32Array;
}

/** Entries of the candidates `lists`, one for each feature, appended to `before` others. */
function encoded({ w, x, rows, d, bias }: Rows, lists: readonly ArrayLike<number>[], before = 0) {
  const candidates = Uint32Array.from(lists.flatMap((list) => Array.from(list)));
  const start = new Uint32Array(rows + 1);
  lists.forEach((list, j) => {
    start[j + 1] = start[j]! + list.length;
  });
  const room = before + candidates.length + 1;
  const out = { entryStart: unsetIntegers(rows + 1), token: unsetIntegers(room), p: unset(room) };
  const memory = memoryOf({ w, x, start, candidates, bias, ...out, dots: unset(8) });
  const { at } = memory;
  const step = memory.block('Step', {
    ...{ features: rows, dIn: d, xc: at('x'), wEnc: at('w'), opens: at('bias'), bias: at('bias') },
    ...{ candidateStart: at('start'), candidates: at('candidates'), dots: at('dots') },
  });
  const list = listOf(memory, before);
  memory.kernels.exact(step, list, 0, 0, rows);
  memory.kernels.close(step, list);
  memory.assertMargins();
  const { entryStart, token, p } = memory.now;
  const end = entryStart[rows]!;
  assertSame(token.subarray(0, before), unsetIntegers(before), 'token of entries listed before');
  assertSame(p.subarray(0, before), unset(before), 'p of entries listed before');
  return { entryStart: entryStart.slice(0, rows), token: token.slice(before, end), p: p.slice(before, end), end };
}

/** A list of entries without a limit, of which there are `count` already. */
function listOf<T extends Record<'entryStart' | 'token', Uint32Array> & Record<'p', Float32Array>>(
  memory: Memory<T>,
  count: number,
  limit = 0,
): number {
  const { at } = memory;
  return memory.block('Entries', {
    k: 0,
    count,
    next: 0,
    limit,
    start: at('entryStart'),
    token: at('token'),
    p: at('p'),
  });
}

/** Where each of `lists` begins when they follow `before` other entries. */
function startsOf(lists: readonly (readonly number[])[], before: number): number[] {
  return lists.map((_, j) => before + lists.slice(0, j).flat().length);
}

/** float64 product of row j of w and row b of x. */
function dot({ w, x, d }: Rows, j: number, b: number): number {
  let sum = 0;
  for (let i = 0; i < d; i++) sum += w[j * d + i]! * x[b * d + i]!;
  return sum;
}

test('exact keeps the candidates with w·x + bias > 0, in order, after the entries listed before', () => {
  const random = new Generator(30);
  for (const [rows, B, dIn] of [
    [1, 1, 16],
    [7, 50, 35],
    [3, 9, 200],
    [12, 16, 3],
  ] as const) {
    for (const before of [0, 11]) {
      const d = padded(dIn);
      const [w, x] = [normalRows(random, rows, dIn), normalRows(random, B, dIn)];
      const operands = { w, x, rows, d, bias: normals(random, rows) };
      const lists = Array.from({ length: rows }, (_, j) =>
        Array.from({ length: B }, (_, b) => b).filter(() => j % 3 === 0 || random.uniform() < (j % 3) / 3),
      );
      const { entryStart, token, p, end } = encoded(operands, lists, before);
      const kept = lists.map((list, j) => list.filter((b) => dot(operands, j, b) + operands.bias[j]! > 0));
      assertSame(token, kept.flat(), 'token');
      const products = kept.flatMap((list, j) => list.map((b) => dot(operands, j, b)));
      assertClose(p, products, 'p');
      assert.equal(end, before + kept.flat().length);
      assertSame(entryStart, startsOf(kept, before), 'entryStart');
    }
  }
});

test('a candidate’s product has the same bits in any group of eight and alone', () => {
  const random = new Generator(31);
  const B = 27;
  const all = Array.from({ length: B }, (_, b) => b);
  for (const dIn of [16, 48, 75, 300]) {
    const d = padded(dIn);
    const bias = new Float32Array(1).fill(1e6);
    const operands = { w: normalRows(random, 1, dIn), x: normalRows(random, B, dIn), rows: 1, d, bias };
    const alone = all.map((b) => encoded(operands, [[b]]).p[0]!);
    for (let count = 1; count <= B; count++) {
      const list = Uint32Array.from(all.slice(B - count));
      assertSame(encoded(operands, [list]).p, alone.slice(B - count), `${count} candidates`);
    }
  }
});

test('exact keeps NaN, drops an exact zero, and decides by the rounded sum', () => {
  const d = 16;
  const first = (...values: number[]) => Float32Array.from(values.flatMap((v) => [v, ...new Array(d - 1).fill(0)]));
  const x = first(1, Number.NaN, -1, 2, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 1 + 2 ** -23, 3);
  const operands = { w: first(1), x, rows: 1, d, bias: Float32Array.of(-1) };
  // Each is decided in a group of eight and alone.
  for (const list of [
    [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2],
    [3, 4, 5, 6, 7, 8],
  ]) {
    const kept = list.filter((token) => [1, 3, 4, 7, 8].includes(token));
    assertSame(encoded(operands, [list]).token, kept, 'token');
  }
  assertSame(encoded({ ...operands, bias: Float32Array.of(Number.NaN) }, [[2, 3]]).token, [2, 3], 'token of NaN bias');
});

test('compact lists what exact would, and stops exactly beyond its limit', () => {
  const random = new Generator(32);
  for (const [rows, B] of [
    [1, 1],
    [5, 37],
    [9, 16],
    [4, 70],
  ] as const) {
    const Bp = padded(B);
    for (const bias of [normals(random, rows), new Float32Array(rows).fill(9), new Float32Array(rows).fill(-9)]) {
      // Padding is never an entry, whatever it contains.
      const product = normals(random, rows * Bp).map((v, k) => (k % Bp < B ? v : 50));
      // In the last row, where it decides whether the limit is met.
      if (B > 2) product[(rows - 1) * Bp + 2] = Number.NaN;
      product[0] = -bias[0]!;
      const kept = Array.from({ length: rows }, (_, j) =>
        Array.from({ length: B }, (_, b) => b).filter((b) => {
          return !(Math.fround(product[j * Bp + b]! + bias[j]!) <= 0);
        }),
      );
      const count = kept.flat().length;
      for (const before of [0, 5]) {
        for (const limit of [count - 1, count, count + 1, rows * B].filter((n) => n >= 0)) {
          const room = before + count + ROOM;
          const out = { entryStart: unsetIntegers(rows + 1), token: unsetIntegers(room), p: unset(room) };
          const memory = memoryOf({ product, bias, ...out });
          const { at } = memory;
          const step = memory.block('Step', { features: rows, B, Bp, opens: at('bias'), bias: at('bias') });
          const list = listOf(memory, before, limit);
          const fits = memory.kernels.compact(step, list, at('product'), 0, 0, rows);
          memory.kernels.close(step, list);
          memory.assertMargins();
          const end = memory.now.entryStart[rows]!;
          assert.equal(Boolean(fits), limit >= count, `${count} entries, limit ${limit}`);
          if (!fits) assertSame(memory.now.entryStart, new Uint32Array(rows + 1).fill(before), 'no entry is left');
          if (!fits) continue;
          assert.equal(end, before + count);
          const { entryStart, token, p } = memory.now;
          assertSame(token.subarray(before, end), kept.flat(), 'token');
          const values = kept.flatMap((list, j) => list.map((b) => product[j * Bp + b]!));
          assertSame(p.subarray(before, end), values, 'p');
          assertSame(p.subarray(0, before), unset(before), 'p of entries listed before');
          assertSame(entryStart.subarray(0, rows), startsOf(kept, before), 'entryStart');
        }
      }
    }
  }
});
