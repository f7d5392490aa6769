import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { RowStream } from '../../src/activations/row-stream.js';
import { openStore } from '../../src/activations/store.js';
import { evalSchema } from '../../src/config/stages/eval.js';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { evaluate } from '../../src/eval/evaluate.js';
import { recordTable } from '../../src/eval/record-table.js';
import { harvest } from '../../src/harvest/harvest.js';
import { harvestToStream } from '../../src/harvest/stream.js';
import { silent } from '../../src/progress/progress.js';
import { train } from '../../src/train/train.js';
import { refuses } from '../config/refuses.js';
import { encodeText } from '../corpus/encode-text.js';
import { temporaryDirectory } from '../temporary.js';

const HOOK = 'blocks.0.hook_resid_post';
const CONTEXT = 32;
const BOS = 2;
const root = temporaryDirectory();
const never = { signal: undefined };
const corpus = join(root, 'c.jsonl');
const text = 'Gentlemen of the Senate and of the House, good evening. '.repeat(100);
writeFileSync(corpus, `${JSON.stringify({ text })}\n`);
const shared = { model: 'assets/tiny-gemma', corpus, context: CONTEXT };
const from = { ...shared, hook: [HOOK], tokens: 12 * CONTEXT, batch: 4 };

const harvested = async (name: string, more: object = {}) =>
  (await harvest(harvestSchema.parse({ ...from, out: join(root, name), ...more }), silent, never))[0]!;

async function trained(name: string, source: object): Promise<string> {
  const out = join(root, name);
  await train(trainSchema.parse({ ...source, dSae: 32, batch: 32, steps: 4, out }), silent, never);
  return out;
}

const prependBosOf = (sae: string): unknown =>
  JSON.parse(readFileSync(join(sae, 'cfg.json'), 'utf8')).metadata.prepend_bos;

const evaluated = (sae: string[], name: string, more: object = {}) =>
  evaluate(evalSchema.parse({ ...shared, sae, tokens: 200, batch: 4, out: join(root, name), ...more }), silent, never);

const [plain, bare] = [await harvested('plain'), await harvested('bare', { prependBos: false })];
const [ofPlain, ofBare] = [
  await trained('sae-plain', { activations: plain }),
  await trained('sae-bare', { activations: bare }),
];

test('a store of contexts without BOS has a row at every position of the plain text', async () => {
  const { manifest, ...store } = await openStore(bare);
  assert.equal(manifest.prepend_bos, false);
  assert.equal((await openStore(plain)).manifest.prepend_bos, true);
  const { token, context, pos } = await store.readShard(0);
  const tokens = new Int32Array(manifest.rows);
  for (const [row, id] of token.entries()) tokens[context[row]! * CONTEXT + pos[row]!] = id;
  const expected = encodeText(await openTokenizer(shared.model, { bosTokenId: BOS }), text);
  assert.deepEqual([...tokens], expected.slice(0, manifest.rows));
});

test('a store is resumed by the policy that it was begun with', async () => {
  await refuses(() => harvested('bare', { resume: true }), 'harvest/other-settings', 'prepend_bos false', 'true');
  await refuses(
    () => harvested('plain', { resume: true, prependBos: false }),
    'harvest/other-settings',
    'prepend_bos true',
    'false',
  );
  assert.equal(await harvested('bare', { resume: true, prependBos: false }), bare);
});

test('cfg.json records the policy of the store, the stream or the running model', async () => {
  assert.deepEqual([prependBosOf(ofPlain), prependBosOf(ofBare)], [true, false]);
  const live = { ...shared, hook: HOOK, contextsPerPass: 4, prependBos: false };
  assert.equal(prependBosOf(await trained('sae-live', live)), false);
  const out = new PassThrough();
  const config = harvestSchema.parse({ ...from, tokens: 2 * CONTEXT, out: '-', prependBos: false });
  const written = harvestToStream(config, out, silent, never).finally(() => out.end());
  const stream = await RowStream.open(out, 'the stream');
  assert.equal(stream.header.prepend_bos, false);
  const rows = await stream.next();
  assert.deepEqual(new Set(rows!.pos), new Set(Array.from({ length: CONTEXT }, (_, pos) => pos)));
  await written;
});

test('an evaluation follows its SAEs: without BOS, every position that is followed by a token counts', async () => {
  const [without] = await evaluated([ofBare], 'eval-bare');
  assert.equal(without!.settings!.prepend_bos, false);
  assert.equal(without!.loss_by_position!.edges[0], 0);
  assert.ok(without!.loss_by_position!.ce_clean.every((loss) => loss !== null && loss > 0));
  // 200 positions, 31 per context; a context with BOS has 30.
  assert.equal(without!.contexts, Math.ceil(200 / (CONTEXT - 1)));
  assert.doesNotMatch(recordTable([without!]), /means exclude BOS positions/);
  const [with_] = await evaluated([ofPlain], 'eval-plain');
  assert.match(recordTable([with_!]), /means exclude BOS positions/);
  assert.equal('prepend_bos' in with_!.settings!, false);
  assert.deepEqual([with_!.loss_by_position!.edges[0], with_!.contexts], [1, Math.ceil(200 / (CONTEXT - 2))]);
  assert.notEqual(without!.ce_clean, with_!.ce_clean);
});

test('SAEs of both kinds are evaluated together where the command says how', async () => {
  await refuses(() => evaluated([ofPlain, ofBare], 'eval-both'), 'eval/several-bos', '--no-prepend-bos');
  const both = await evaluated([ofPlain, ofBare], 'eval-both', { prependBos: true });
  const [alone] = await evaluated([ofPlain], 'eval-alone');
  assert.equal(both[0]!.ce_clean, alone!.ce_clean);
  assert.equal(both[1]!.ce_clean, alone!.ce_clean);
  assert.equal('prepend_bos' in both[1]!.settings!, false);
});
