import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { padded } from '../../../../src/train/engines/sparse/memory.js';
import { assertSame } from './compare.js';
import { PATTERNS } from './entries.js';
import { normalRows, normals } from './memory.js';
import { assertUpdated, changedNames, memoryAt, randomArrays, stepNumbers } from './update-case.js';
import { type Arrays, applyGradient, BIASES, gradientOf, inDoubles, type StepNumbers } from './update-twin.js';

/** Steps that features have missed; the engine never misses one with β1 > 0. */
const MISSED = [0, 1, 40];
const STEP = 50;

/** What is not trained, and how the loss differs. */
const VARIANTS: readonly (readonly [string, readonly string[], Partial<StepNumbers>?])[] = [
  ['the decoder frozen', ['W_dec']],
  ['the encoder frozen', ['W_enc']],
  ['the encoder and b_dec frozen', ['W_enc', 'b_dec']],
  ['b_dec frozen', ['b_dec']],
  ['only r_mag and b_mag trained', ['W_enc', 'W_dec', 'b_dec', 'b_gate', 'b_enc']],
  ['magnitudes frozen', ['b_mag', 'r_mag'], {}],
  ['no auxiliary loss', [], {}],
  ['λ on f', [], { l1: 0, l1F: 0.15 }],
  ['the auxiliary decoder unfrozen', [], { unfrozen: 1 }],
];

for (const architecture of ['gated', 'standard'] as const) {
  for (const beta1 of [0, 0.8]) {
    test(`update of a ${architecture} SAE with β1 = ${beta1}: gradient, missed decays, projection, Adam and norm`, () => {
      const random = new Generator(60, beta1 * 10, architecture.length);
      for (const size of PATTERNS) {
        for (const missed of beta1 > 0 ? [0] : MISSED) {
          const arrays = randomArrays(random, architecture, size, beta1);
          // Features miss different numbers of steps.
          arrays.updated!.forEach((_, j) => {
            arrays.updated![j] = STEP - 1 - (beta1 > 0 || j % 2 ? 0 : missed);
          });
          const numbers = stepNumbers(architecture, size.dIn, STEP, beta1);
          const memory = memoryAt(arrays, architecture, numbers);
          const wanted = inDoubles(arrays);
          // The first and the last of several features belong to other strips.
          const [first, last] = size.features > 5 ? [1, size.features - 1] : [0, size.features];
          const starts = arrays.entry_start!;
          const moved = (j: number) => j >= first && j < last && (beta1 > 0 || starts[j] !== starts[j + 1]);
          for (let j = first; j < last; j++) {
            if (moved(j)) applyGradient(architecture, wanted, numbers, j, gradientOf(architecture, arrays, numbers, j));
          }
          memory.kernels.update(memory.step, memory.list, 0, first, last);
          assertUpdated(memory, arrays, wanted, changedNames(architecture, beta1), size, moved);
        }
      }
    });

    for (const [what, frozen, more] of VARIANTS) {
      if (architecture === 'standard' && more) continue;
      test(`update of a ${architecture} SAE with β1 = ${beta1}, ${what}`, () => {
        const random = new Generator(65, beta1 * 10, architecture.length);
        for (const size of PATTERNS) {
          const arrays = randomArrays(random, architecture, size, beta1);
          arrays.updated!.forEach((_, j) => {
            arrays.updated![j] = STEP - 1 - (beta1 > 0 ? 0 : MISSED[j % 3]!);
          });
          for (const name of frozen) for (const key of [`m/${name}`, `v/${name}`]) delete arrays[key];
          if (what === 'no auxiliary loss') delete arrays.r_aux;
          const pulls = Number(!frozen.includes('b_dec'));
          const numbers = { ...stepNumbers(architecture, size.dIn, STEP, beta1), pulls, ...more };
          const memory = memoryAt(arrays, architecture, numbers);
          const wanted = inDoubles(arrays);
          const starts = arrays.entry_start!;
          const moved = (j: number) => beta1 > 0 || starts[j] !== starts[j + 1];
          for (let j = 0; j < size.features; j++) {
            if (moved(j)) applyGradient(architecture, wanted, numbers, j, gradientOf(architecture, arrays, numbers, j));
          }
          memory.kernels.update(memory.step, memory.list, 0, 0, size.features);
          assertUpdated(memory, arrays, wanted, changedNames(architecture, beta1, frozen), size, moved);
          for (const name of frozen) if (arrays[name]) assertSame(memory.now[name]!, arrays[name], `frozen ${name}`);
          memory.kernels.decayMoments(memory.step, 0, size.features);
          memory.assertMargins();
        }
      });
    }

    test(`applyStrip of a ${architecture} SAE with β1 = ${beta1} applies given gradients`, () => {
      const random = new Generator(61, beta1 * 10, architecture.length);
      for (const size of PATTERNS) {
        const { features, dIn } = size;
        const d = padded(dIn);
        const arrays = randomArrays(random, architecture, size, beta1);
        arrays.updated!.forEach((_, j) => {
          arrays.updated![j] = STEP - 1 - (beta1 > 0 ? 0 : MISSED[j % 3]!);
        });
        const [first, rows] = features > 5 ? [2, features - 3] : [0, features];
        const [enc, dec] = [normalRows(random, rows, dIn), normalRows(random, rows, dIn)];
        const sums = normals(random, 4 * rows);
        const numbers = stepNumbers(architecture, dIn, STEP, beta1);
        const memory = memoryAt({ ...arrays, enc, dec, strip_sums: sums }, architecture, numbers);
        const wanted = inDoubles(arrays);
        for (let row = 0; row < rows; row++) {
          const part = (values: Float32Array) => Float64Array.from(values.subarray(row * d, (row + 1) * d));
          const biases = BIASES[architecture].map((_, n) => sums[4 * row + 1 + n]!);
          const gradient = { enc: part(enc), dec: part(dec), dp: sums[4 * row]!, biases };
          applyGradient(architecture, wanted, numbers, first + row, gradient);
        }
        const { at, kernels } = memory;
        kernels.applyStrip(memory.step, first, rows, at('enc'), at('dec'), at('strip_sums'));
        const moved = (j: number) => j >= first && j < first + rows;
        assertUpdated(memory, arrays, wanted, changedNames(architecture, beta1), size, moved);
      }
    });
  }

  test(`${architecture} features do not see tokens of the next feature`, () => {
    const random = new Generator(64, architecture.length);
    const size = { features: 2, B: 9, dIn: 16, density: () => 1 };
    for (let count = 1; count <= 8; count++) {
      const arrays = randomArrays(random, architecture, size, 0);
      // Groups of four are filled up: not with the entries after the feature's own, of token 8, which is NaN.
      arrays.entry_start = Uint32Array.of(0, count, count + 1);
      arrays.token![count] = 8;
      for (const name of ['xc', 'r', 'r_aux']) arrays[name]!.fill(Number.NaN, 8 * 16);
      arrays.updated!.fill(STEP - 1);
      const memory = memoryAt(arrays, architecture, stepNumbers(architecture, 16, STEP, 0));
      memory.kernels.update(memory.step, memory.list, 0, 0, 2);
      assert.ok(Number.isNaN(memory.now.W_enc!.at(-1)), 'the NaN was not met at all');
      for (const name of ['W_enc', 'W_dec', ...BIASES[architecture]]) {
        const values = memory.now[name]!;
        const mine = values.subarray(0, values.length / 2);
        assert.ok(
          mine.every((value) => Number.isFinite(value)),
          `${name} of ${count} entries`,
        );
      }
    }
  });

  test(`a lazy ${architecture} update has the bits of one whose moments decayed in every step`, () => {
    const random = new Generator(62, architecture.length);
    for (const size of PATTERNS) {
      const { features, dIn } = size;
      const arrays = randomArrays(random, architecture, size, 0);
      const missed = 23;
      arrays.updated!.fill(STEP - 1 - missed);
      const lazy = memoryAt(arrays, architecture, stepNumbers(architecture, dIn, STEP, 0, 0.999));
      lazy.kernels.update(lazy.step, lazy.list, 0, 0, features);
      lazy.kernels.decayMoments(lazy.step, 0, features);
      const decayed: Arrays = { ...arrays, updated: new Uint32Array(features).fill(STEP - 1) };
      for (const name of changedNames(architecture, 0).filter((n) => n.startsWith('v/'))) {
        decayed[name] = Float32Array.from(arrays[name]!, (value) => repeated(value, 0.999, missed));
      }
      const eager = memoryAt(decayed, architecture, stepNumbers(architecture, dIn, STEP, 0, 0.999));
      eager.kernels.update(eager.step, eager.list, 0, 0, features);
      // Features without entries take the step's own decay.
      eager.kernels.decayMoments(eager.step, 0, features);
      for (const name of changedNames(architecture, 0)) assertSame(lazy.now[name]!, eager.now[name]!, name);
    }
  });

  test(`decayMoments of a ${architecture} SAE multiplies once per missed step`, () => {
    const random = new Generator(63, architecture.length);
    for (const size of PATTERNS) {
      for (const beta2 of [0.999, 0.5]) {
        const { features, dIn } = size;
        const arrays = randomArrays(random, architecture, size, 0);
        const vs = changedNames(architecture, 0).filter((name) => name.startsWith('v/'));
        // Some decay into subnormals, some to nothing.
        for (const name of vs) arrays[name] = arrays[name]!.map((v, k) => (k % 3 === 0 ? v * 1e-38 : v));
        const missed = (j: number) => [0, 1, 2, 300][j % 4]!;
        arrays.updated = Uint32Array.from({ length: features }, (_, j) => 400 - missed(j + features));
        const memory = memoryAt(arrays, architecture, stepNumbers(architecture, dIn, 400, 0, beta2));
        const [first, last] = features > 5 ? [1, features - 2] : [0, features];
        memory.kernels.decayMoments(memory.step, first, last);
        const inside = (j: number) => j >= first && j < last;
        for (const [name, values] of Object.entries(arrays)) {
          const length = values.length / features;
          const wanted = Array.from(values, (value, k) => {
            const j = Math.floor(k / length);
            if (!inside(j)) return value;
            if (name === 'updated') return 400;
            return vs.includes(name) ? repeated(value, beta2, missed(j + features)) : value;
          });
          assertSame(memory.now[name]!, wanted, name);
        }
        memory.assertMargins();
      }
    }
  });
}

/** value · βⁿ by n float32 products. */
function repeated(value: number, beta: number, n: number): number {
  for (let k = 0; k < n; k++) value = Math.fround(value * Math.fround(beta));
  return value;
}
