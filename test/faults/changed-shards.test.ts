import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { copyOfMade, HOOK, harvestWords, refused, succeeds, trainWords } from './commands.js';

const root = temporaryDirectory();
const { acts } = await copyOfMade(root);
const [FIRST, OTHER] = ['shard-00000.arrow', 'shard-00003.arrow'] as const;

/** What can happen to a shard after it was written, and what is said of it. */
const CHANGES: Record<string, { change: (store: string) => void; said: RegExp }> = {
  'one byte changed': {
    change: (store) => {
      const path = join(store, OTHER);
      const bytes = readFileSync(path);
      bytes[50_000]! ^= 1;
      writeFileSync(path, bytes);
    },
    said: /shard-00003\.arrow was changed after it was written: its SHA-256 is [0-9a-f]{12}…, and the manifest says/,
  },
  'another of the same size in its place': {
    change: (store) => {
      for (const [from, to] of [
        [FIRST, 'aside'],
        [OTHER, FIRST],
        ['aside', OTHER],
      ] as const) {
        renameSync(join(store, from), join(store, to));
      }
    },
    said: /shard-0000[03]\.arrow was changed after it was written: its SHA-256 is/,
  },
  truncated: {
    change: (store) => truncateSync(join(store, OTHER), 60_000),
    said: /shard-00003\.arrow has 60000 bytes, and the manifest says 99714\. Harvest the store again\./,
  },
  gone: {
    change: (store) => rmSync(join(store, OTHER)),
    said: /shard-00003\.arrow is listed in the manifest but could not be read\. Harvest the store again\./,
  },
};

for (const [name, { change, said }] of Object.entries(CHANGES)) {
  test(`a shard ${name} is not trained on`, async () => {
    const copy = join(root, name.replaceAll(' ', '-'));
    cpSync(acts, copy, { recursive: true });
    const store = join(copy, HOOK);
    change(store);
    const out = `${copy}-sae`;
    refused(await run(...trainWords(store, out)), said);
    assert.equal(existsSync(join(out, 'cfg.json')), false);
    // Sizes are known without reading: nothing was begun.
    if (!said.source.includes('SHA')) assert.equal(existsSync(out), false);
  });
}

test('a harvest does not go on with a store that has lost what it lists', async () => {
  for (const name of ['truncated', 'gone']) {
    const copy = join(root, `harvest-${name}`);
    cpSync(acts, copy, { recursive: true });
    CHANGES[name]!.change(join(copy, HOOK));
    refused(await run(...harvestWords(copy), '--resume'), CHANGES[name]!.said);
  }
  await succeeds([...harvestWords(acts), '--resume']);
});
