import assert from 'node:assert/strict';
import { test } from 'node:test';
import { largestIds, type SamplingSettings, tokenChooser } from '../../src/generate/sampling.js';
import { Generator } from '../../src/random/generator.js';

const random = new Generator(1, 99);
const logitsOf = (size: number) => Float32Array.from({ length: size }, () => 3 * random.normal());

/** Tokens by logit, the largest first; of equals the smaller number. */
const ranked = (logits: Float32Array) => [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);

/** How often each of `n` choices was each token. */
function counts(logits: Float32Array, settings: Omit<SamplingSettings, 'seed'>, n: number): Map<number, number> {
  const choose = tokenChooser({ ...settings, seed: 5 }, 0);
  const found = new Map<number, number>();
  for (let i = 0; i < n; i++) {
    const id = choose(logits);
    found.set(id, (found.get(id) ?? 0) + 1);
  }
  return found;
}

test('the largest values come in order, whatever their number, equals by number', () => {
  for (const size of [1, 7, 300, 20_000]) {
    const values = logitsOf(size).map((x) => Math.round(4 * x) / 4);
    for (const count of [1, 2, 5, size, size + 3]) {
      assert.deepEqual(largestIds(values, count), ranked(values).slice(0, count), `${count} of ${size}`);
    }
  }
});

test('without temperature the most probable token is taken, of equals the first', () => {
  assert.equal(tokenChooser({ temperature: 0, seed: 0 }, 0)(Float32Array.of(1, 4, 2, 4)), 1);
});

test('at a temperature tokens come as often as softmax says', () => {
  const logits = Float32Array.of(1, 3, -2, 2);
  const weights = Float64Array.from(logits, (x) => Math.exp(x / 1.5));
  const total = weights.reduce((a, b) => a + b, 0);
  const found = counts(logits, { temperature: 1.5 }, 40_000);
  for (const [id, weight] of weights.entries()) {
    const share = weight / total;
    // Five standard deviations.
    const error = 5 * Math.sqrt((share * (1 - share)) / 40_000);
    assert.ok(Math.abs((found.get(id) ?? 0) / 40_000 - share) < error, `${id}`);
  }
});

test('top-k and top-p leave the tokens that transformers leaves', () => {
  const logits = logitsOf(3000);
  const order = ranked(logits);
  const weight = (id: number) => Math.exp(logits[id]! / 0.7);
  /** By transformers: temperature, then the k largest, then the fewest of these that are p of them. */
  const left = (topK: number | undefined, topP: number | undefined) => {
    const kept = order.slice(0, topK);
    const total = kept.reduce((sum, id) => sum + weight(id), 0);
    let sum = 0;
    if (topP === undefined) return kept;
    return kept.filter((id) => {
      sum += weight(id);
      return sum - weight(id) < topP * total;
    });
  };
  for (const [topK, topP] of [[1], [6], [undefined, 0.2], [undefined, 0.5], [20, 0.6]] as const) {
    const expected = left(topK, topP);
    const found = counts(logits, { temperature: 0.7, topK, topP }, 3000);
    for (const id of found.keys()) assert.ok(expected.includes(id), `${topK} ${topP} ${id}`);
    assert.ok(found.has(expected[0]!) && found.size <= expected.length);
    if (expected.length < 10) assert.equal(found.size, expected.length, `${topK} ${topP}`);
  }
  // More than are sorted at first.
  const flat = new Float32Array(3000);
  assert.ok([...counts(flat, { temperature: 1, topP: 0.9 }, 3000).keys()].every((id) => id < 2701));
});

test('a seed and the number of a text give its choices', () => {
  const logits = logitsOf(50);
  const taken = (seed: number, text: number) => {
    const choose = tokenChooser({ temperature: 2, seed }, text);
    return Array.from({ length: 20 }, () => choose(logits));
  };
  assert.deepEqual(taken(1, 0), taken(1, 0));
  assert.notDeepEqual(taken(1, 0), taken(2, 0));
  assert.notDeepEqual(taken(1, 0), taken(1, 1));
});
