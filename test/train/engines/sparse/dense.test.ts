import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { RULES } from '../../../../src/train/engines/sparse/kernels.js';
import { padded } from '../../../../src/train/engines/sparse/memory.js';
import { assertClose, assertSame } from './compare.js';
import { type Memory, memoryOf, normals, unset } from './memory.js';

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

/** Blocks for a strip whose features begin at 2, so that biases and marks are those of rows + 2. */
function blocksOf<T extends Parameters<typeof memoryOf>[0]>(memory: Memory<T>, rule: 'relu' | 'gated', B: number) {
  const { at } = memory;
  const step = memory.block('Step', {
    ...{ rule: RULES[rule], B, Bp: padded(B), tile: at('tile'), opens: at('bias'), bias: at('bias') },
    ...(rule === 'gated' ? { shift: at('bMag'), factor: at('expRMag') } : {}),
  });
  return { step, list: (more: object) => memory.block('Entries', more) };
}

/** Arrays of features before the strip's. */
const FIRST = 2;
const shifted = (values: Float32Array) => Float32Array.of(...new Array(FIRST).fill(Number.NaN), ...values);
const numbersOf = ({ bias, bMag, expRMag }: Strip) => ({
  ...{ bias: shifted(bias), bMag: shifted(bMag), expRMag: shifted(expRMag) },
});

for (const rule of ['gated', 'relu'] as const) {
  test(`valueStrip makes f or g of a strip of a ${rule} SAE, counts f and sums what is penalised`, () => {
    const random = new Generator(70);
    for (const { rows, B } of SHAPES) {
      for (const [bad, second, sumsF] of [
        [false, false, false],
        [true, true, false],
        [false, true, true],
        [true, false, true],
        [false, false, true],
      ] as const) {
        if (rule === 'relu' && (second || !sumsF)) continue;
        const strip = spoiled(randomStrip(random, rows, B), bad);
        const Bp = padded(B);
        const tile = unset(4 * rows * Bp);
        tile.set(strip.p);
        const memory = memoryOf({
          ...{ ...numbersOf(strip), tile, totals: Float64Array.of(0.5, 9) },
          fired: new Uint32Array(FIRST + rows).fill(7),
        });
        const { at, kernels, now } = memory;
        const { step, list } = blocksOf(memory, rule, B);
        const entries = list({ fired: at('fired'), totals: at('totals'), sumsF: Number(sumsF) });
        kernels.valueStrip(step, entries, FIRST, rows, second, 3);
        memory.assertMargins();
        const wanted = gated(strip, B, (_, __, pi, m) =>
          second || rule === 'relu' ? relu(pi) : pi <= 0 ? 0 : relu(m),
        );
        assertSame(now.tile.subarray(3 * rows * Bp), wanted, second ? 'g' : 'f');
        assertSame(now.tile.subarray(0, rows * Bp), strip.p, 'p');
        const { active, fired } = counted(wanted, rows);
        assertSame(now.fired.subarray(FIRST), second ? new Array(rows).fill(7) : fired, 'fired');
        assertSame(now.totals.subarray(1), [second ? 9 : 9 + active], 'count');
        const penalised = second !== sumsF;
        // Where a pre-activation is NaN, so is the sum.
        if (penalised && bad) assertSame(now.totals.subarray(0, 1), [Number.NaN], 'sum');
        else assertClose(now.totals.subarray(0, 1), [penalised ? 0.5 + sum(wanted) : 0.5], 'sum');
      }
    }
  });

  test(`gradientStrip makes f and dp of residual dots of a ${rule} SAE, and sums the biases’ gradients`, () => {
    const random = new Generator(72);
    for (const [i, { rows, B }] of [...SHAPES, ...SHAPES].entries()) {
      const strip = randomStrip(random, rows, B);
      const Bp = padded(B);
      const [df, dg] = [normals(random, rows * Bp), normals(random, rows * Bp)];
      // The penalty is on g, and then on f.
      const [l1, l1F] = i < SHAPES.length && rule === 'gated' ? [f32(0.3), 0] : [0, f32(0.3)];
      const tile = Float32Array.of(...strip.p, ...df, ...dg);
      const memory = memoryOf({ ...numbersOf(strip), tile, sums: unset(4 * rows) });
      const { at, kernels, now } = memory;
      const { step, list } = blocksOf(memory, rule, B);
      kernels.gradientStrip(step, list({ l1, l1F }), FIRST, rows, at('sums'));
      memory.assertMargins();
      const sums = new Float64Array(4 * rows);
      const dp = gated(strip, B, (k, j, pi, m) => {
        const dPi = pi > 0 ? f32(l1 + dg[k]!) : 0;
        const dM = pi > 0 && (m > 0 || rule === 'relu') ? f32(l1F + df[k]!) : 0;
        const e = strip.expRMag[j]!;
        const value = rule === 'relu' ? dM : f32(dPi + f32(e * dM));
        const terms = rule === 'relu' ? [value, value, 0, 0] : [value, dPi, dM, dM * e * strip.p[k]!];
        terms.forEach((term, n) => {
          sums[4 * j + n]! += term;
        });
        return value;
      });
      const matrix = (n: number) => now.tile.subarray(n * rows * Bp, (n + 1) * rows * Bp);
      assertSame(matrix(2), dp, 'dp');
      const f = gated(strip, B, (_, __, pi, m) => (pi > 0 ? relu(rule === 'relu' ? pi : m) : 0));
      assertSame(matrix(1), f, 'f');
      assertSame(matrix(0), strip.p, 'p');
      for (let n = 0; n < 4; n++) {
        const column = (values: ArrayLike<number>) => Array.from({ length: rows }, (_, j) => values[4 * j + n]!);
        assertClose(column(now.sums), column(sums), `sum ${n}`, 1e-5);
      }
    }
  });
}
