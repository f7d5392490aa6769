import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { tableFromIPC } from 'apache-arrow';
import { readManifest } from '../../src/activations/manifest.js';
import { openStore } from '../../src/activations/store.js';
import { type Context, packContexts } from '../../src/corpus/contexts.js';
import { readDocuments } from '../../src/corpus/documents.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { Generator } from '../../src/random/generator.js';
import { run } from '../cli/run-program.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { countBelow, killAgainAndAgain, LONG } from './kills.js';

const MODEL = 'assets/tiny-gemma';
const CORPUS = 'assets/corpus/validation.jsonl.gz';
const HOOKS = ['blocks.1.hook_mlp_out', 'blocks.0.hook_attn_out'];
const CONTEXT = 64;
const TOKENS = LONG ? 6000 : 3000;
const KILLS = LONG ? 32 : 1;
const FLAGS = [
  ...['--model', MODEL, '--corpus', CORPUS, ...HOOKS.flatMap((hook) => ['--hook', hook])],
  ...['--tokens', `${TOKENS}`, '--context', `${CONTEXT}`, '--batch', '4'],
  ...['--window-rows', '1000', '--rows-per-shard', '150'],
];

const root = temporaryDirectory();
const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** What the corpus gives: contexts, and the token of every row by "context:pos". */
async function expected(): Promise<{ contexts: Context[]; rows: Map<string, number> }> {
  const tokenizer = await openTokenizer(MODEL, { bosTokenId: 2 });
  const contexts: Context[] = [];
  const rows = new Map<string, number>();
  for await (const context of packContexts(readDocuments(CORPUS, 'text'), tokenizer, CONTEXT)) {
    contexts.push(context);
    for (const [pos, token] of context.tokens.entries()) {
      if (token !== tokenizer.bosTokenId && rows.size < TOKENS) rows.set(`${context.index}:${pos}`, token);
    }
    if (rows.size === TOKENS) return { contexts, rows };
  }
  throw new Error('the corpus is too short');
}

async function checkStore(directory: string, { contexts, rows }: Awaited<ReturnType<typeof expected>>): Promise<void> {
  // Reading a shard compares its hash with the manifest's.
  const { manifest, shards, readShard } = await openStore(directory);
  const found = new Map<string, number>();
  for (let i = 0; i < shards.length; i++) {
    const { token, context, pos } = await readShard(i);
    for (const [k, t] of token.entries()) {
      const key = `${context[k]}:${pos[k]}`;
      assert.ok(!found.has(key), `${key} stands twice in ${directory}`);
      found.set(key, t);
    }
  }
  assert.equal(found.size, rows.size);
  for (const [key, token] of rows) assert.equal(found.get(key), token, key);
  let index = 0;
  for (const { file, sha256: hash } of manifest.contexts) {
    assert.equal(sha256(join(directory, file)), hash, file);
    for (const row of tableFromIPC(readFileSync(join(directory, file)))) {
      const context = contexts[index++]!;
      assert.equal(row.context, context.index);
      assert.deepEqual([...row.tokens], [...context.tokens]);
      assert.deepEqual([...row.documents], [...context.documents]);
    }
  }
  assert.equal(index, contexts.length);
}

test(`a harvest of two hooks, killed ${KILLS} times, has every row once and the bytes of an undisturbed run`, async () => {
  const given = await expected();
  const whole = join(root, 'whole');
  const began = performance.now();
  const undisturbed = await run('harvest', ...FLAGS, '--out', whole);
  assert.equal(undisturbed.code, 0, undisturbed.stderr);
  const life = performance.now() - began;
  const files = filesBelow(whole);
  await killAgainAndAgain(
    {
      command: (out) => ['harvest', ...FLAGS, '--out', out, '--resume'],
      progress: (out) => countBelow(out, /shard-\d+\.arrow$/),
      whole: countBelow(whole, /shard-\d+\.arrow$/),
      life,
      async afterKill(out) {
        // Listed files exist and are complete, at any moment.
        for (const directory of HOOKS.map((hook) => join(out, hook))) {
          if (!existsSync(join(directory, 'manifest.json'))) continue;
          const { shards, contexts, partial } = await readManifest(directory);
          for (const { file, sha256: hash } of [...shards, ...contexts, ...(partial?.files ?? [])]) {
            assert.equal(sha256(join(directory, file)), hash, file);
          }
        }
      },
      async atEnd(out) {
        for (const hook of HOOKS) await checkStore(join(out, hook), given);
        assert.deepEqual(filesBelow(out), files);
      },
    },
    KILLS,
    root,
    new Generator(23),
  );
});
