import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { RULES } from '../../../../src/train/engines/sparse/kernels.js';
import { assertSame } from './compare.js';
import { type Entries, PATTERNS, randomEntries } from './entries.js';
import { memoryOf, normals, unset, unsetIntegers } from './memory.js';

interface Gates {
  readonly bias: Float32Array;
  readonly bMag: Float32Array;
  readonly expRMag: Float32Array;
}

/** Token-major entries as regroup must give them, in its own float32 operations. */
function twin(
  gated: boolean,
  l1OnF: boolean,
  B: number,
  { entryStart, token, p }: Entries,
  { bias, bMag, expRMag }: Gates,
) {
  const features = entryStart.length - 1;
  const byToken: { j: number; f: number; g: number }[][] = Array.from({ length: B }, () => []);
  const fired = new Set<number>();
  let [sum, active] = [0, 0];
  for (let j = 0; j < features; j++) {
    for (let k = entryStart[j]!; k < entryStart[j + 1]!; k++) {
      const pi = Math.fround(p[k]! + bias[j]!);
      const g = pi <= 0 ? 0 : pi;
      const m = Math.fround(Math.fround(p[k]! * expRMag[j]!) + bMag[j]!);
      const f = gated ? (m <= 0 ? 0 : m) : g;
      byToken[token[k]!]!.push({ j, f, g });
      sum += l1OnF ? f : g;
      if (f > 0) {
        active++;
        fired.add(j);
      }
    }
  }
  const tokenStart = [0];
  for (const list of byToken) tokenStart.push(tokenStart.at(-1)! + list.length);
  return { entries: byToken.flat(), tokenStart, fired, sum, active };
}

function regrouped(gated: boolean, l1OnF: boolean, B: number, entries: Entries, gates: Gates, firing = true) {
  const features = entries.entryStart.length - 1;
  const memory = memoryOf({
    ...gates,
    entryStart: entries.entryStart,
    token: entries.token,
    p: entries.p,
    fired: new Uint32Array(features).fill(7),
    tokenStart: unsetIntegers(B + 1),
    feature: unsetIntegers(entries.count),
    f: unset(entries.count),
    g: unset(entries.count),
    totals: Float64Array.of(0.5, 1000),
  });
  const { at } = memory;
  const step = memory.block('Step', {
    ...{ rule: gated ? RULES.gated : RULES.relu, features, B, opens: at('bias'), bias: at('bias') },
    ...{ shift: gated ? at('bMag') : 0, factor: at('expRMag') },
  });
  const list = memory.block('Entries', {
    ...{ start: at('entryStart'), token: at('token'), p: at('p'), tokenStart: at('tokenStart') },
    ...{ feature: at('feature'), f: at('f'), g: gated ? at('g') : 0, totals: at('totals') },
    ...{ fired: firing ? at('fired') : 0, sumsF: Number(!gated || l1OnF) },
  });
  memory.kernels.regroup(step, list, 0, features);
  memory.assertMargins();
  return memory.now;
}

for (const [gated, l1OnF] of [
  [true, false],
  [true, true],
  [false, false],
] as const) {
  test(`${gated ? 'gated' : 'standard'} entries${l1OnF ? ' with λ on f' : ''} are regrouped by token, features ascending, to the bit`, () => {
    const random = new Generator(40, Number(gated));
    for (const { features, B, density } of PATTERNS) {
      // Some gates are shut although they are listed, and some magnitudes are negative.
      const entries = randomEntries(random, features, B, density, () => random.normal() + 0.5);
      if (entries.count > 3) entries.p[3] = Number.NaN;
      const gates = {
        bias: normals(random, features, 0.3),
        bMag: normals(random, features, 0.7),
        expRMag: normals(random, features).map((r) => Math.exp(r)),
      };
      const wanted = twin(gated, l1OnF, B, entries, gates);
      assertSame(
        regrouped(gated, l1OnF, B, entries, gates, false).fired,
        new Uint32Array(features).fill(7),
        'fired of a list that does not tell',
      );
      const { fired, tokenStart, feature, f, g, totals } = regrouped(gated, l1OnF, B, entries, gates);
      const of = (name: 'j' | 'f' | 'g') => wanted.entries.map((entry) => entry[name]);
      assertSame(tokenStart, wanted.tokenStart, 'tokenStart');
      assertSame(feature, of('j'), 'feature');
      assertSame(f, of('f'), 'f');
      assertSame(g, gated ? of('g') : unset(entries.count), 'g');
      assertSame(
        fired,
        Array.from(fired, (_, j) => (wanted.fired.has(j) ? 1 : 7)),
        'fired',
      );
      assertSame(totals, [0.5 + wanted.sum, 1000 + wanted.active], 'totals');
    }
  });
}

test('an entry with an open gate and no magnitude is listed, counts for g, and does not fire', () => {
  const entryStart = Uint32Array.of(0, 1);
  const entries = { entryStart, token: Uint32Array.of(0), p: Float32Array.of(2), count: 1 };
  const gates = { bias: Float32Array.of(1), bMag: Float32Array.of(-5), expRMag: Float32Array.of(2) };
  const { fired, f, g, totals } = regrouped(true, false, 1, entries, gates);
  assert.deepEqual([fired[0], f[0], g[0], totals[0], totals[1]], [7, 0, 3, 3.5, 1000]);
});
