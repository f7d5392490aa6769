import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Store } from '../../../src/activations/store.js';
import { Interrupted } from '../../../src/errors/refusal.js';
import { silent } from '../../../src/progress/progress.js';
import { Generator } from '../../../src/random/generator.js';
import { featureOnTokens, featurePicture, histogram, unitOf } from '../../../src/report/jump-relu.js';
import { initialise } from '../../../src/sae/registry.js';
import { type ArchitectureName, type Sae, square } from '../../../src/sae/sae.js';
import { toBfloat16 } from '../../../src/safetensors/floats.js';
import { memoryStore } from '../../activations/synthetic.js';
import { elements } from '../sample.js';

const D = 6;
const FEATURE = 3;

/** An SAE in which nothing is zero, so that each term of the encoder counts. */
function sae(architecture: ArchitectureName): Sae {
  const made = initialise(architecture, square(D, 5), 1);
  const random = new Generator(2, 3);
  for (const [name, values] of Object.entries(made.parameters)) {
    if (name !== 'W_dec') for (const i of values.keys()) values[i] = values[i]! + 0.3 * random.normal();
  }
  return made;
}

/** A store of random rows, and the rows. */
function store(dtype: 'float32' | 'bfloat16', sizes = [40, 30]): { store: Store; rows: Float32Array[] } {
  const random = new Generator(4, 5);
  const made = memoryStore(sizes, dtype, D);
  const shards = sizes.map((size) => Float32Array.from({ length: size * D }, () => random.normal()));
  const read = (i: number) => (dtype === 'bfloat16' ? toBfloat16(shards[i]!) : shards[i]!);
  const filled = { ...made, readShard: async (i: number) => ({ ...(await made.readShard(i)), activation: read(i) }) };
  return {
    store: filled,
    rows: shards.flatMap((shard, i) =>
      Array.from({ length: sizes[i]! }, (_, row) => shard.slice(row * D, row * D + D)),
    ),
  };
}

/** f and projection from the paper's equations, term by term. */
function expected({ architecture, dSae, parameters: w }: Sae, x: Float32Array): { f: number; projection: number } {
  const centred = [...x].map((value, i) => value - w.b_dec![i]!);
  const p = centred.reduce((sum, value, i) => sum + value * w.W_enc![i * dSae + FEATURE]!, 0);
  const projection = centred.reduce((sum, value, i) => sum + value * w.W_dec![FEATURE * D + i]!, 0);
  if (architecture === 'standard') return { f: Math.max(0, p + w.b_enc![FEATURE]!), projection };
  const open = p + w.b_gate![FEATURE]! > 0 ? 1 : 0;
  return { f: open * Math.max(0, Math.exp(w.r_mag![FEATURE]!) * p + w.b_mag![FEATURE]!), projection };
}

const all = { tokens: 1000, seed: 0 };

test('every row of the store is encoded and projected, as the equations say', async () => {
  for (const architecture of ['gated', 'standard'] as const) {
    const { store: of, rows } = store('float32');
    const one = sae(architecture);
    const found = await featureOnTokens(one, FEATURE, of, all, silent, { signal: undefined });
    assert.equal(found.f.length, 70);
    const key = (f: number, projection: number) => `${f.toFixed(9)} ${projection.toFixed(9)}`;
    const wanted = rows.map((x) => expected(one, x)).map(({ f, projection }) => key(f, projection));
    assert.deepEqual(Array.from(found.f, (f, i) => key(f, found.projection[i]!)).sort(), wanted.sort());
    assert.ok(found.f.some((f) => f > 0) && found.f.some((f) => f === 0), 'both on and off are seen');
  }
});

test('bfloat16 rows are widened', async () => {
  const wide = await featureOnTokens(sae('gated'), FEATURE, store('float32').store, all, silent, { signal: undefined });
  const narrow = await featureOnTokens(sae('gated'), FEATURE, store('bfloat16').store, all, silent, {
    signal: undefined,
  });
  for (const [i, projection] of wide.projection.entries())
    assert.ok(Math.abs(narrow.projection[i]! - projection) < 0.05);
});

test('float16 rows are read by their bits', async () => {
  // The store's first entries are 0, 1, 2, … as bits: the smallest float16 numbers.
  const bits = memoryStore([3], 'float16', D);
  const one = sae('standard');
  const found = await featureOnTokens(one, FEATURE, bits, all, silent, { signal: undefined });
  const step = one.parameters.W_dec![FEATURE * D]! * 2 ** -24;
  assert.ok(Math.abs(found.projection[2]! - found.projection[0]! - 2 * step) < 1e-12);
});

test('no more rows are read than requested, and the same ones for the same seed', async () => {
  const few = await featureOnTokens(sae('gated'), FEATURE, store('float32').store, { tokens: 9, seed: 3 }, silent, {
    signal: undefined,
  });
  assert.equal(few.f.length, 9);
  const again = await featureOnTokens(sae('gated'), FEATURE, store('float32').store, { tokens: 9, seed: 3 }, silent, {
    signal: undefined,
  });
  assert.deepEqual(again, few);
});

test('Ctrl-C ends it between shards', async () => {
  await assert.rejects(
    featureOnTokens(sae('gated'), FEATURE, store('float32').store, all, silent, { signal: 'SIGINT' }),
    (error) => error instanceof Interrupted,
  );
});

test('a feature is off where its gate is closed or its magnitude is not above 0', () => {
  const one = sae('gated');
  one.parameters.b_gate![FEATURE] = 5;
  one.parameters.b_mag![FEATURE] = -1;
  one.parameters.r_mag![FEATURE] = 0;
  assert.deepEqual([-6, 0, 2].map(unitOf(one, FEATURE).activation), [0, 0, 1]);
  one.parameters.b_gate![FEATURE] = -1;
  one.parameters.b_mag![FEATURE] = 2;
  assert.deepEqual([0.5, 1, 1.5].map(unitOf(one, FEATURE).activation), [0, 0, 3.5]);
});

test('the picture has both histograms, each of area 1, and one dot per active token', () => {
  const bins = histogram([0, 0.1, 0.9, 1], [0, 1], 4);
  assert.deepEqual(
    bins.map(({ from, density }) => [from, density]),
    [
      [0, 2],
      [0.75, 2],
    ],
  );
  const projection = Float64Array.from({ length: 3000 }, (_, i) => i / 1000);
  const f = projection.map((a) => (a > 1 ? a : 0));
  const { svg, caption } = featurePicture(
    { projection, f },
    { feature: 7, sae: 'runs/<a>', architecture: 'gated', hook: 'h' },
  );
  assert.ok(elements(svg, '[data-mark="bar-off"]').length > 10 && elements(svg, '[data-mark="bar-on"]').length > 10);
  assert.equal(elements(svg, '[data-mark="token"]').length, 1999);
  assert.match(
    caption,
    /^Feature 7 of runs\/<a> \(gated\) at h, on 3,000 tokens.*is off \(1,001 tokens, mean 0\.50\) and on \(1,999 tokens, mean 2\.00\).*from 1\.001 upwards/,
  );
  assert.ok(svg.text.includes('feature on: 66.63 % of tokens'));
  assert.doesNotMatch(svg.text, /<a>|NaN|undefined/);
});

test('one token, none with the feature off, or very many make a picture', () => {
  const name = { feature: 0, sae: 's', architecture: 'gated', hook: 'h' };
  const one = featurePicture({ projection: Float64Array.of(2), f: Float64Array.of(2) }, name);
  assert.equal(elements(one.svg, '[data-mark="bar-on"]').length, 1);
  assert.doesNotMatch(one.svg.text + one.caption, /NaN|Infinity/);
  const many = Float64Array.from({ length: 300_000 }, (_, i) => 1 + (i % 1000));
  const { svg } = featurePicture({ projection: many, f: many }, name);
  assert.equal(elements(svg, '[data-mark="token"]').length, 2000);
});
