import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { openStore } from '../../src/activations/store.js';
import { evalSchema } from '../../src/config/stages/eval.js';
import { featuresSchema } from '../../src/config/stages/features.js';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { evaluate } from '../../src/eval/evaluate.js';
import { collectFeatures } from '../../src/features/features.js';
import { harvest } from '../../src/harvest/harvest.js';
import { harvestToStream } from '../../src/harvest/stream.js';
import { silent } from '../../src/progress/progress.js';
import { train } from '../../src/train/train.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { chatModel, goldenChats, template } from '../corpus/chats/gemma-chats.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const HOOK = 'blocks.0.hook_resid_post';
const BOS = 2;
const LENGTH = 32;
const root = temporaryDirectory();
const never = { signal: undefined };
const model = chatModel(template);
const corpus = join(root, 'chats.jsonl');
// In the middle of it the assistant is silent, for longer than a window.
const silence = { messages: [{ role: 'user', content: 'Nobody answers. '.repeat(80) }], ids: [] };
const chats = [...goldenChats.slice(0, 6), silence, ...goldenChats.slice(6)];
writeFileSync(corpus, chats.map(({ messages }) => `${JSON.stringify({ messages })}\n`).join(''));
const shared = { model, corpus, chatField: 'messages', context: LENGTH };
const TOKENS = 250;

const config = (name: string, more: object = {}) =>
  harvestSchema.parse({
    ...shared,
    ...{ roles: ['assistant'], hook: [HOOK], tokens: TOKENS, batch: 2, windowRows: 60, rowsPerShard: 50 },
    ...{ out: join(root, name), ...more },
  });
const harvested = async (name: string, more: object = {}) => (await harvest(config(name, more), silent, never))[0]!;

/** Context, position and token of each row, in the order of the text: packed plainly, of transformers' own masks. */
function rowsPlainly(before: number): string[] {
  const rows: string[] = [];
  let [context, pos] = [0, 0];
  const put = (token: number, counts: boolean) => {
    if (pos === 0 && token !== BOS) pos = 1;
    // It is left out wherever it stands.
    if (counts && token !== BOS) rows.push(`${context} ${pos} ${token}`);
    pos = (pos + 1) % LENGTH;
    if (pos === 0) context++;
  };
  for (const { bundled } of goldenChats.slice(0, before)) {
    for (const [i, id] of bundled.ids.entries()) put(id, bundled.assistant[i] === '1');
  }
  return rows;
}

async function rowsOf(directory: string): Promise<string[]> {
  const store = await openStore(directory);
  const rows: [number, number, number][] = [];
  for (let i = 0; i < store.shards.length; i++) {
    const { context, pos, token } = await store.readShard(i);
    for (const [k, at] of context.entries()) rows.push([at, pos[k]!, token[k]!]);
  }
  return rows.sort(([a, b], [c, d]) => a - c || b - d).map((row) => row.join(' '));
}

test('a store has the rows of one role alone, through windows in which nobody of it speaks, and resumes to the same bytes', async () => {
  const whole = await harvested('whole');
  const rows = await rowsOf(whole);
  assert.equal(rows.length, TOKENS);
  const expected = rowsPlainly(6);
  assert.deepEqual(rows.slice(0, expected.length), expected);
  const { manifest } = await openStore(whole);
  const { template_sha256: digest, ...chat } = manifest.chat!;
  assert.deepEqual(chat, { field: 'messages', roles: ['assistant'], spans: 'prefixes' });
  assert.match(digest, /^[0-9a-f]{64}$/);
  // The silence is within, and its contexts are of a window that has rows.
  assert.ok(expected.length < TOKENS);
  assert.ok(manifest.contexts.every((window) => window.rows > 0));
  const most = Math.max(...manifest.contexts.map((window) => window.contexts));
  assert.ok(most > manifest.window_batches * manifest.batch);
  // Stopped after each of its windows in turn.
  const stop: { signal: 'SIGTERM' | undefined } = { signal: undefined };
  let at = 0;
  const update = (rows: number) => {
    if (rows > at) stop.signal = 'SIGTERM';
  };
  const stopping = { ...silent, update };
  for (let done = false; !done; at += 140) {
    stop.signal = undefined;
    const resumed = config('parts', { resume: at > 0 });
    done = await harvest(resumed, at < TOKENS ? stopping : silent, stop).then(
      () => true,
      () => false,
    );
  }
  assert.deepEqual(filesBelow(join(root, 'parts', HOOK)), filesBelow(whole));
  await refuses(() => harvested('whole', { resume: true, roles: ['user'] }), 'harvest/other-settings', 'chat');
  await refusesUsage(() => harvested('text', { chatField: undefined }), 'corpus/roles-without-chats', '--chat-field');
});

test('a stream and training on a running model have the rows of the store, and the SAE records the roles', async () => {
  const store = await harvested('of-stream');
  const out = new PassThrough();
  const bytes = buffer(out);
  await harvestToStream(config('-', { out: '-' }), out, silent, never);
  out.end();
  assert.ok((await bytes).includes('"roles":["assistant"]'));
  const common = { dSae: 16, batch: 25, steps: 10, normalize: 'none', start: 'zero', bDecInit: 'zero' };
  const from = { ...shared, roles: ['assistant'], hook: HOOK, contextsPerPass: 2, poolRows: 60 };
  const live = join(root, 'live');
  const stored = join(root, 'stored');
  await train(trainSchema.parse({ ...common, ...from, out: live }), silent, never);
  await train(trainSchema.parse({ ...common, activations: store, order: 'stored', out: stored }), silent, never);
  const weights = (sae: string) => readFileSync(join(sae, 'sae_weights.safetensors'));
  assert.deepEqual(weights(live), weights(stored));
  for (const sae of [live, stored]) {
    const { metadata } = JSON.parse(readFileSync(join(sae, 'cfg.json'), 'utf8'));
    assert.deepEqual(metadata.chat_roles, ['assistant']);
    assert.deepEqual(metadata.sae_pipe.activations.chat.roles, ['assistant']);
  }
});

test('eval and features use the roles that an SAE was trained on, unless flags say otherwise', onDemand, async () => {
  const sae = async (name: string, more: object) => {
    const out = join(root, name);
    const activations = await harvested(`${name}-acts`, more);
    await train(trainSchema.parse({ activations, dSae: 16, batch: 25, steps: 4, out }), silent, never);
    return out;
  };
  const one = await sae('assistant', {});
  const all = await sae('everybody', { roles: ['all'] });
  const measured = (saes: string[], name: string, more: object = {}) =>
    evaluate(
      evalSchema.parse({ ...shared, sae: saes, tokens: 150, batch: 4, out: join(root, name), ...more }),
      silent,
      never,
    );
  const [ruled] = await measured([one], 'ruled');
  const [plain] = await measured([all], 'plain');
  assert.deepEqual(ruled!.settings!.chat!.roles, ['assistant']);
  assert.equal('roles' in plain!.settings!.chat!, false);
  assert.notEqual(ruled!.ce_clean, plain!.ce_clean);
  const [everything] = await measured([one], 'all-tokens', { allTokens: true });
  assert.equal(everything!.ce_clean, plain!.ce_clean);
  await refuses(() => measured([one, all], 'both'), 'eval/several-roles', '--roles');
  const both = await measured([one, all], 'both', { roles: ['assistant'] });
  assert.deepEqual([both[0]!.ce_clean, both[1]!.ce_clean], [ruled!.ce_clean, ruled!.ce_clean]);
  const out = join(root, 'features');
  await collectFeatures(
    featuresSchema.parse({ ...shared, sae: [one], tokens: 100, batch: 4, topK: 2, out }),
    silent,
    never,
  );
  const record = JSON.parse(readFileSync(join(out, 'features.json'), 'utf8'));
  assert.deepEqual([record.chat.roles, record.tokens], [['assistant'], 100]);
});
