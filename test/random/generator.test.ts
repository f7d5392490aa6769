import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator, Purpose } from '../../src/random/generator.js';
import { chiSquare, chiSquareBound } from './chi-square.js';

const draw = (generator: Generator, count: number) => Array.from({ length: count }, () => generator.next());
const stateOf = (generator: Generator) => (generator as unknown as { s: Uint32Array }).s;

test('from the state 1, 2, 3, 4 come the outputs of the published C code', () => {
  const generator = new Generator();
  stateOf(generator).set([1, 2, 3, 4]);
  const published = [
    11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
  ];
  assert.deepEqual(draw(generator, 10), published);
});

/** xoshiro128** 1.1 as it is published, in unbounded integers cut to 32 bits. */
function* xoshiro(state: readonly number[]): Iterator<number, never> {
  const cut = (x: bigint) => BigInt.asUintN(32, x);
  const rotl = (x: bigint, k: bigint) => cut((x << k) | (x >> (32n - k)));
  let [s0, s1, s2, s3] = state.map(BigInt) as [bigint, bigint, bigint, bigint];
  for (;;) {
    yield Number(cut(rotl(cut(s1 * 5n), 7n) * 9n));
    const t = cut(s1 << 9n);
    s2 ^= s0;
    s3 ^= s1;
    s1 ^= s2;
    s0 ^= s3;
    s2 ^= t;
    s3 = rotl(s3, 11n);
  }
}

test('every stream is xoshiro128** of its state', () => {
  for (let seed = 0; seed < 50; seed++) {
    const generator = new Generator(seed, seed * 977);
    const twin = xoshiro([...stateOf(generator)]);
    for (const value of draw(generator, 200)) assert.equal(value, twin.next().value);
  }
});

test('the same words give the same stream', () => {
  assert.deepEqual(draw(new Generator(7, Purpose.rowOrder, 3), 100), draw(new Generator(7, Purpose.rowOrder, 3), 100));
});

test('other seeds, purposes, counts and orders of words give other streams', () => {
  const words = [
    [],
    [0],
    [1],
    [1, 0],
    [1, 0, 0],
    [0, 1],
    [1, 1],
    [1, 2],
    [2, 1],
    [1, 2, 3],
    [2 ** 32 - 1],
    [2 ** 32],
    [1 + 2 ** 32],
  ];
  const streams = words.map((w) => draw(new Generator(...w), 4).join());
  assert.equal(new Set(streams).size, words.length);
});

test('the purposes are distinct', () => {
  const purposes = Object.values(Purpose);
  assert.equal(new Set(purposes).size, purposes.length);
});

test('consecutive seeds give unrelated first numbers', () => {
  for (const word of [0, 1]) {
    const counts = new Uint32Array(64);
    const ups = { count: 0 };
    let before = 0;
    for (let seed = 0; seed < 6400; seed++) {
      const first = word === 0 ? new Generator(seed).next() : new Generator(3, Purpose.rowOrder, seed).next();
      counts[first >>> 26]!++;
      if (first > before) ups.count++;
      before = first;
    }
    assert.ok(chiSquare(counts) < chiSquareBound(63));
    // Of n independent numbers, rises between neighbours have mean n/2 and variance n/12.
    assert.ok(Math.abs(ups.count - 3200) < 5 * Math.sqrt(6400 / 12));
  }
});

test('uniform numbers lie in [0, 1) and have the moments of the uniform distribution', () => {
  const random = new Generator(1);
  const n = 100_000;
  const counts = new Uint32Array(100);
  let [sum, squares, products, before] = [0, 0, 0, 0.5];
  for (let i = 0; i < n; i++) {
    const x = random.uniform();
    assert.ok(x >= 0 && x < 1);
    counts[Math.floor(x * 100)]!++;
    sum += x;
    squares += x * x;
    products += (x - 0.5) * (before - 0.5);
    before = x;
  }
  // Five standard errors: the variances of x, x² and the product of neighbours are 1/12, 4/45 and 1/144.
  assert.ok(Math.abs(sum / n - 1 / 2) < 5 * Math.sqrt(1 / 12 / n));
  assert.ok(Math.abs(squares / n - 1 / 3) < 5 * Math.sqrt(4 / 45 / n));
  assert.ok(Math.abs(products / n) < 5 * Math.sqrt(1 / 144 / n));
  assert.ok(chiSquare(counts) < chiSquareBound(99));
});

test('normal numbers have the moments and the tails of the standard normal distribution', () => {
  const random = new Generator(2);
  const n = 100_000;
  const moments = [0, 0, 0, 0, 0];
  let [beyond2, products, before] = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    const x = random.normal();
    for (const k of [1, 2, 3, 4]) moments[k]! += x ** k / n;
    if (Math.abs(x) > 2) beyond2++;
    products += (x * before) / n;
    before = x;
  }
  // The variance of xᵏ is E x²ᵏ − (E xᵏ)²: 1, 2, 15, 96.
  const expected = [0, 0, 1, 0, 3];
  const variance = [0, 1, 2, 15, 96];
  for (const k of [1, 2, 3, 4])
    assert.ok(Math.abs(moments[k]! - expected[k]!) < 5 * Math.sqrt(variance[k]! / n), `x^${k}`);
  const p = 0.0455003;
  assert.ok(Math.abs(beyond2 / n - p) < 5 * Math.sqrt((p * (1 - p)) / n));
  assert.ok(Math.abs(products) < 5 / Math.sqrt(n));
});

test('below(n) is uniform on 0 … n − 1', () => {
  for (const n of [2, 3, 5, 6, 7, 8, 10, 100]) {
    const random = new Generator(3, n);
    const counts = new Uint32Array(n);
    for (let i = 0; i < 20_000; i++) {
      const value = random.below(n);
      assert.ok(Number.isInteger(value) && value >= 0 && value < n);
      counts[value]!++;
    }
    assert.ok(chiSquare(counts) < chiSquareBound(n - 1), `n = ${n}`);
  }
  assert.equal(new Generator(3).below(1), 0);
});

test('below(n) has no bias where 2³² is far from a multiple of n', () => {
  // A remainder without rejection would fall below 2³⁰ half of the time instead of a third.
  const random = new Generator(4);
  const n = 3 * 2 ** 30;
  const draws = 20_000;
  const counts = new Uint32Array(3);
  for (let i = 0; i < draws; i++) counts[Math.floor(random.below(n) / 2 ** 30)]!++;
  assert.ok(chiSquare(counts) < chiSquareBound(2));
});

test('below(2³²) is any 32-bit number', () => {
  assert.deepEqual(
    Array.from(
      { length: 3 },
      (
        (random) => () =>
          random.below(2 ** 32)
      )(new Generator(9)),
    ),
    draw(new Generator(9), 3),
  );
});

test('a permutation holds each of 0 … n − 1 once', () => {
  for (const n of [0, 1, 2, 3, 17, 1000]) {
    const order = new Generator(5, n).permutation(n);
    assert.equal(order.length, n);
    assert.deepEqual(
      [...order].sort((a, b) => a - b),
      Array.from({ length: n }, (_, i) => i),
    );
  }
});

test('all permutations are equally likely', () => {
  const random = new Generator(6);
  const counts = new Map<string, number>();
  for (let i = 0; i < 24_000; i++) {
    const key = random.permutation(4).join('');
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  assert.equal(counts.size, 24);
  assert.ok(chiSquare([...counts.values()]) < chiSquareBound(23));
});

test('each number is equally likely at each place of a longer permutation', () => {
  const random = new Generator(7);
  const n = 12;
  const counts = new Uint32Array(n * n);
  for (let i = 0; i < 6000; i++)
    for (const [place, value] of random.permutation(n).entries()) counts[place * n + value]!++;
  // Rows and columns have fixed sums, hence (n − 1)² degrees of freedom and the factor (n − 1)/n.
  assert.ok((chiSquare(counts) * (n - 1)) / n < chiSquareBound((n - 1) ** 2));
});
