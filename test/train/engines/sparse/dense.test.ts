import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { padded } from '../../../../src/train/engines/sparse/slice-plan.js';
import { assertClose, assertSame } from './compare.js';
import { memoryOf, normals, unset } from './memory.js';

const SHAPES = [
  { rows: 1, B: 1 },
  { rows: 3, B: 16 },
  { rows: 2, B: 19 },
  { rows: 8, B: 37 },
  { rows: 5, B: 50 },
] as const;

const f32 = Math.fround;
/** ReLU that keeps NaN. */
const relu = (x: number) => (x <= 0 ? 0 : x);

interface Strip {
  readonly p: Float32Array;
  readonly bias: Float32Array;
  readonly bMag: Float32Array;
  readonly expRMag: Float32Array;
}

/** A strip whose feature 1, where it has one, is off everywhere, and whose padding holds what must not count. */
function randomStrip(random: Generator, rows: number, B: number): Strip {
  const Bp = padded(B);
  const bias = normals(random, rows, 0.5);
  if (rows > 1) bias[1] = -1e3;
  return {
    p: normals(random, rows * Bp).map((v, k) => (k % Bp < B ? v : 100 + v)),
    bias,
    bMag: normals(random, rows, 0.5),
    expRMag: normals(random, rows, 0.5).map(Math.exp),
  };
}

/** Calls `visit` for each number of a strip, with its feature, whether it belongs to the batch, π and m. */
function gated(
  { p, bias, bMag, expRMag }: Strip,
  B: number,
  visit: (k: number, j: number, pi: number, m: number) => number,
) {
  const Bp = padded(B);
  return Float32Array.from(p, (pre, k) => {
    const j = Math.floor(k / Bp);
    if (k % Bp >= B) return 0;
    return visit(k, j, f32(pre + bias[j]!), f32(f32(pre * expRMag[j]!) + bMag[j]!));
  });
}

/** What a strip adds to totals[1], and which features it marks. */
function counted(f: Float32Array, rows: number): { active: number; fired: number[] } {
  const on = Array.from({ length: rows }, (_, j) => {
    return f.subarray((j * f.length) / rows, ((j + 1) * f.length) / rows).filter((x) => x > 0).length;
  });
  return { active: on.reduce((a, b) => a + b, 0), fired: on.map((n) => (n > 0 ? 1 : 7)) };
}

const sum = (values: Float32Array) => values.reduce((a, b) => a + b, 0);

/** A NaN among the pre-activations, if `bad`. */
function spoiled(strip: Strip, bad: boolean): Strip {
  const p = strip.p.slice();
  if (bad) p[0] = Number.NaN;
  return { ...strip, p };
}

test('gatedStrip makes f or g of a strip, counts f and sums what is penalised', () => {
  const random = new Generator(70);
  for (const { rows, B } of SHAPES) {
    for (const bad of [false, true]) {
      const strip = spoiled(randomStrip(random, rows, B), bad);
      const Bp = padded(B);
      for (const [auxiliary, penalised] of [
        [false, false],
        [true, true],
        [false, true],
        [true, false],
      ] as const) {
        const results = {
          out: unset(rows * Bp),
          fired: new Uint32Array(rows).fill(7),
          totals: Float64Array.of(0.5, 9),
        };
        const memory = memoryOf({ ...strip, ...results });
        const { at, kernels, now } = memory;
        const biases = [at('bias'), at('bMag'), at('expRMag')] as const;
        kernels.gatedStrip(at('p'), rows, B, Bp, ...biases, auxiliary, penalised, at('out'), at('fired'), at('totals'));
        memory.assertMargins();
        const wanted = gated(strip, B, (_, __, pi, m) => (auxiliary ? relu(pi) : pi <= 0 ? 0 : relu(m)));
        assertSame(now.out, wanted, auxiliary ? 'g' : 'f');
        assertSame(now.p, strip.p, 'p');
        const { active, fired } = counted(wanted, rows);
        assertSame(now.fired, auxiliary ? new Array(rows).fill(7) : fired, 'fired');
        assertSame(now.totals.subarray(1), [auxiliary ? 9 : 9 + active], 'count');
        // Where a pre-activation is NaN, so is the sum.
        if (penalised && bad) assertSame(now.totals.subarray(0, 1), [Number.NaN], 'sum');
        else assertClose(now.totals.subarray(0, 1), [penalised ? 0.5 + sum(wanted) : 0.5], 'sum');
      }
    }
  }
});

test('standardStrip makes f of a strip, sums and counts it', () => {
  const random = new Generator(71);
  for (const { rows, B } of SHAPES) {
    for (const bad of [false, true]) {
      const strip = spoiled(randomStrip(random, rows, B), bad);
      const Bp = padded(B);
      const results = { out: unset(rows * Bp), fired: new Uint32Array(rows).fill(7), totals: Float64Array.of(0.5, 9) };
      const memory = memoryOf({ ...strip, ...results });
      const { at, kernels, now } = memory;
      kernels.standardStrip(at('p'), rows, B, Bp, at('bias'), at('out'), at('fired'), at('totals'));
      memory.assertMargins();
      const wanted = gated(strip, B, (_, __, pi) => relu(pi));
      assertSame(now.out, wanted, 'f');
      const { active, fired } = counted(wanted, rows);
      assertSame(now.fired, fired, 'fired');
      // Where a pre-activation is NaN, so is the sum, but not the count.
      const total = 0.5 + sum(wanted);
      if (bad) assertSame(now.totals.subarray(0, 1), [Number.NaN], 'sum');
      else assertClose(now.totals.subarray(0, 1), [total], 'sum');
      assertSame(now.totals.subarray(1), [9 + active], 'count');
    }
  }
});

test('gatedGradientStrip makes dp and f of residual dots, and sums the biases’ gradients', () => {
  const random = new Generator(72);
  for (const [i, { rows, B }] of [...SHAPES, ...SHAPES].entries()) {
    const strip = randomStrip(random, rows, B);
    const Bp = padded(B);
    const [df, dg] = [normals(random, rows * Bp), normals(random, rows * Bp)];
    // The penalty is on g, and then on f.
    const [l1, l1F] = i < SHAPES.length ? [f32(0.3), 0] : [0, f32(0.3)];
    const memory = memoryOf({ ...strip, df, dg, sums: unset(4 * rows) });
    const { at, kernels, now } = memory;
    const biases = [at('bias'), at('bMag'), at('expRMag')] as const;
    kernels.gatedGradientStrip(at('p'), at('df'), at('dg'), rows, B, Bp, ...biases, l1, l1F, at('sums'));
    memory.assertMargins();
    const sums = new Float64Array(4 * rows);
    const dp = gated(strip, B, (k, j, pi, m) => {
      const dPi = pi > 0 ? f32(l1 + dg[k]!) : 0;
      const dM = pi > 0 && m > 0 ? f32(l1F + df[k]!) : 0;
      const e = strip.expRMag[j]!;
      const value = f32(dPi + f32(e * dM));
      [value, dPi, dM, dM * e * strip.p[k]!].forEach((term, n) => {
        sums[4 * j + n]! += term;
      });
      return value;
    });
    assertSame(now.dg, dp, 'dp');
    assertSame(
      now.df,
      gated(strip, B, (_, __, pi, m) => (pi > 0 ? relu(m) : 0)),
      'f',
    );
    assertSame(now.p, strip.p, 'p');
    for (let n = 0; n < 4; n++) {
      const column = (values: ArrayLike<number>) => Array.from({ length: rows }, (_, j) => values[4 * j + n]!);
      assertClose(column(now.sums), column(sums), `sum ${n}`, 1e-5);
    }
  }
});

test('standardGradientStrip makes f and dp of residual dots, and sums dp', () => {
  const random = new Generator(73);
  for (const { rows, B } of SHAPES) {
    const strip = randomStrip(random, rows, B);
    const Bp = padded(B);
    const df = normals(random, rows * Bp);
    const l1 = f32(0.3);
    const memory = memoryOf({ ...strip, df, sums: unset(4 * rows) });
    const { at, kernels, now } = memory;
    kernels.standardGradientStrip(at('p'), at('df'), rows, B, Bp, at('bias'), l1, at('sums'));
    memory.assertMargins();
    const sums = new Float64Array(4 * rows);
    const dp = gated(strip, B, (k, j, pi) => {
      const value = pi > 0 ? f32(l1 + df[k]!) : 0;
      sums[4 * j]! += value;
      sums[4 * j + 1]! += value;
      return value;
    });
    assertSame(now.df, dp, 'dp');
    assertSame(
      now.p,
      gated(strip, B, (_, __, pi) => relu(pi)),
      'f',
    );
    assertClose(now.sums, sums, 'sums', 1e-5);
  }
});
