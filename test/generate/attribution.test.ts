import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openCandidate } from '../../src/eval/candidates.js';
import { type Active, ablationEffects, directEffects, readText, strongest } from '../../src/generate/attribution.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { goldenSaes } from '../features/golden-folder.js';
import { openGolden, relativeDifference } from '../golden.js';

const MODEL = 'assets/tiny-gemma';
const golden = await openGolden('steering');
const long = async (name: string) => [...(await golden.ints(name))].filter((_, i) => i % 2 === 0);
const tokens = await long('prompt');
const checkpoint = await openCheckpoint(MODEL);
const [gated, jumprelu] = await Promise.all(
  (await goldenSaes()).map((path) => openCandidate(path, { model: MODEL, anyModel: true }, checkpoint)),
);
const text = (candidates: (typeof gated)[]) => ({
  ...{ checkpoint, tokens, threads: 1, placement: { device: 'cpu', precision: 'float32' } as const },
  saes: candidates.map((one) => ({ files: one!.files, hook: one!.hook, input: one!.input, errorTerm: true })),
});

test('effects of ablations, and direct ones, are those of PyTorch', async () => {
  const about = text([gated]);
  const reading = await readText(about, 1);
  const [token] = (await long('gated/token')) as [number];
  assert.equal(reading.likeliest, token);
  const features = await long('features/gated');
  const own = reading.active.filter(({ feature }) => features.includes(feature));
  assert.ok(own.length > 10);
  const golds = await golden.floats('gated/effects');
  const expected = ({ feature, position }: Active) => golds[features.indexOf(feature) * 12 + position]!;
  let done = 0;
  const effects = await ablationEffects(about, own, { token }, async (count) => {
    done = count;
  });
  assert.equal(done, own.length);
  assert.ok(relativeDifference(effects, own.map(expected)) < 1e-3);
  // What does not fire has no effect.
  const firing = new Set(own.map(({ feature, position }) => features.indexOf(feature) * 12 + position));
  for (const [i, effect] of golds.entries()) if (!firing.has(i)) assert.ok(Math.abs(effect) < 1e-4, `${i}`);

  const direct = await directEffects(about, own, { token }, reading.divisor);
  const at = await golden.floats('gated/direct');
  const last = own.map(({ feature, position }) => (position === 11 ? at[features.indexOf(feature)]! : 0));
  assert.ok(relativeDifference(direct as number[], last) < 1e-4);
  assert.ok(last.some((effect) => effect !== 0));

  // Of a difference, each is the difference.
  const other = (token + 1) % 4096;
  const apart = await ablationEffects(about, own.slice(0, 5), { token: other }, async () => {});
  const minus = await ablationEffects(about, own.slice(0, 5), { token, minus: other }, async () => {});
  assert.ok(
    relativeDifference(
      minus,
      apart.map((effect, i) => effects[i]! - effect),
    ) < 1e-3,
  );
});

test('of several SAEs, each activation has the effect that it has alone; the strongest write most', async () => {
  const both = text([gated, jumprelu]);
  const reading = await readText(both, 1);
  const chosen = strongest(reading.active, 12);
  assert.deepEqual(
    chosen.map(({ norm }) => norm),
    reading.active
      .map(({ norm }) => norm)
      .sort((a, b) => b - a)
      .slice(0, 12),
  );
  const target = { token: reading.likeliest };
  const mixed = [
    ...chosen.filter(({ of }) => of === 1).slice(0, 3),
    ...reading.active.filter(({ of }) => of === 0).slice(0, 3),
  ];
  const together = await ablationEffects(both, mixed, target, async () => {});
  for (const [i, one] of mixed.entries()) {
    const [alone] = await ablationEffects(
      text([[gated, jumprelu][one.of]]),
      [{ ...one, of: 0 }],
      target,
      async () => {},
    );
    assert.ok(Math.abs(alone! - together[i]!) < 1e-4);
  }
});
