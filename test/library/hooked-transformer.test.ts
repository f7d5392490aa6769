import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Interrupted } from '../../src/errors/refusal.js';
import { type Activations, checkWidth } from '../../src/library/activations.js';
import { bundled, HookedTransformer } from '../../src/library/index.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { relativeDifference } from '../golden.js';
import { runHooks } from '../lm/run-model.js';

const TEXT = 'The receipts of the Treasury for the fiscal year';
const model = await HookedTransformer.fromPretrained(bundled.model, { threads: 1 });
after(() => model.close());

test('a text has the activations that its tokens have without anything after them', async () => {
  const { tokens, strTokens, cache } = await model.runWithCache(TEXT, 'blocks.*.hook_mlp_out');
  assert.deepEqual(
    [...cache.keys()],
    [0, 1, 2, 3].map((layer) => `blocks.${layer}.hook_mlp_out`),
  );
  assert.equal(strTokens[0], '<bos>');
  assert.equal(strTokens.slice(1).join(''), TEXT);
  const exact = await runHooks(await openCheckpoint(bundled.model), tokens, tokens.length);
  for (const [name, x] of cache) {
    assert.deepEqual(x.shape, [tokens.length, 192]);
    assert.ok(relativeDifference(x.data, exact.get(name)!) < 1e-5, name);
    assert.deepEqual(x.row(2), x.data.subarray(2 * 192, 3 * 192));
  }
});

test('texts of any length, and calls that come together, do not disturb one another', async () => {
  const hook = 'blocks.1.hook_resid_post';
  const long = `${TEXT} ${'was small. '.repeat(30)}`;
  const runs = await Promise.all([TEXT, long, TEXT].map((text) => model.runWithCache(text, hook)));
  const [first, longer, again] = runs.map(({ cache }) => cache.get(hook)!);
  assert.deepEqual(first!.data, again!.data);
  assert.ok(longer!.rows > 64);
  const shared = first!.rows - 1;
  const beginning = longer!.data.subarray(0, shared * 192);
  assert.ok(relativeDifference(first!.data.subarray(0, shared * 192), beginning) < 1e-5);

  const drawn = (seed: number) => model.generate(TEXT, { maxNewTokens: 6, temperature: 1, seed });
  const alone = [await drawn(1), await drawn(2)];
  // What continues texts is open by now, and both use it.
  const together = await Promise.all([drawn(1), drawn(2)]);
  assert.deepEqual(together, alone);
  assert.deepEqual(
    alone.map(({ tokens }) => tokens.length),
    [6, 6],
  );
  assert.notDeepEqual(together[0], together[1]);
});

test('BOS follows the model, or the caller', async (t) => {
  assert.deepEqual(model.toTokens(TEXT, false), model.toTokens(TEXT).subarray(1));
  const without = await HookedTransformer.fromPretrained(bundled.model, { prependBos: false });
  t.after(() => without.close());
  assert.deepEqual(without.toTokens(TEXT), model.toTokens(TEXT, false));
  const { tokens } = await model.runWithCache(model.toTokens(TEXT, false), 'hook_embed');
  assert.equal(tokens.length, model.toTokens(TEXT).length - 1);
  assert.equal((await model.runWithCache(TEXT, [])).cache.size, 0);
});

test('what a model does not support is refused', async () => {
  await refuses(() => HookedTransformer.fromPretrained('nowhere/at/all'), 'hub/no-model-directory');
  await refuses(() => model.runWithCache(TEXT, 'blocks.9.hook_resid_post'), 'lm/no-hook', 'blocks.9');
  await refuses(() => model.runWithCache('year '.repeat(600), 'hook_embed'), 'lm/context-too-long', '512');
  for (const wrong of [[], [1.5], [-1], [4096]])
    await refuses(() => model.runWithCache(wrong, 'hook_embed'), 'library/wrong-tokens');
  for (const [option, wrong] of [
    ['maxNewTokens', { maxNewTokens: 0 }],
    ['maxNewTokens', { maxNewTokens: 2.5 }],
    ['temperature', { temperature: -1 }],
    ['temperature', { temperature: Number.NaN }],
    ['topK', { temperature: 1, topK: 0 }],
    ['topP', { temperature: 1, topP: 2 }],
    ['seed', { seed: 0.5 }],
    ['stop', { stop: [''] }],
  ] as const) {
    await refusesUsage(() => model.generate(TEXT, wrong), 'config/wrong-value', option);
  }
  const open = (options: object) => HookedTransformer.fromPretrained(bundled.model, options);
  await refusesUsage(() => open({ threads: -1 }), 'config/wrong-value', 'threads');
  await refusesUsage(() => open({ precision: 'int4' }), 'config/wrong-value', 'precision');
  const { cfg } = model;
  assert.deepEqual([cfg.nLayers, cfg.dModel, cfg.dVocab, cfg.nCtx], [4, 192, 4096, 512]);
});

test('a stopped text is not returned', async () => {
  const abort = new AbortController();
  const pieces: string[] = [];
  const generating = model.generate(TEXT, {
    signal: abort.signal,
    onText: (piece) => {
      pieces.push(piece);
      abort.abort();
    },
  });
  await assert.rejects(generating, Interrupted);
  assert.equal(pieces.length, 1);
  // What was under way is over, and the next text has the model to itself.
  assert.equal((await model.generate(TEXT, { maxNewTokens: 2 })).tokens.length, 2);
});

test('an option that does not exist, a missing hook or missing activations are refused, not ignored', async () => {
  // Written as in JavaScript, where no type is checked.
  const loose = model as unknown as Record<
    'generate' | 'steer' | 'runWithCache',
    (...given: unknown[]) => Promise<unknown>
  >;
  await refusesUsage(() => loose.generate(TEXT, { tokens: 5 }), 'config/unknown-flag', 'tokens');
  await refusesUsage(() => loose.steer(TEXT, [], { maxTokens: 5 }), 'config/unknown-flag', 'maxTokens');
  await refusesUsage(() => loose.runWithCache(TEXT), 'config/missing-flag');
  const misspelt = { thread: 1 } as object;
  const open = () => HookedTransformer.fromPretrained(bundled.model, misspelt);
  await refusesUsage(open, 'config/unknown-flag', 'thread', 'threads');
  for (const rows of [undefined, new Float32Array(192)]) {
    await refuses(() => checkWidth(rows as unknown as Activations, 192, 'The activations'), 'library/wrong-width');
  }
});
