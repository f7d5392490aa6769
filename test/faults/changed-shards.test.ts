import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { RefusalCode } from '../../src/errors/codes.js';
import { logged, refused } from '../cli/refused.js';
import { run } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { copyOfMade, HOOK, harvestWords, succeeds, trainWords } from './commands.js';

const root = temporaryDirectory();
const { acts } = await copyOfMade(root);
const [FIRST, OTHER] = ['shard-00000.arrow', 'shard-00003.arrow'] as const;

/** What can happen to a shard after it was written, and the refusal. */
interface Change {
  readonly change: (store: string) => void;
  readonly code: RefusalCode;
  readonly names: RegExp;
}

const CHANGES: Record<string, Change> = {
  'one byte changed': {
    change: (store) => {
      const path = join(store, OTHER);
      const bytes = readFileSync(path);
      bytes[50_000]! ^= 1;
      writeFileSync(path, bytes);
    },
    code: 'activations/shard-changed',
    names: /shard-00003\.arrow .*SHA-256.* [0-9a-f]{12}/,
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
    code: 'activations/shard-changed',
    names: /shard-0000[03]\.arrow .*SHA-256.* [0-9a-f]{12}/,
  },
  truncated: {
    change: (store) => truncateSync(join(store, OTHER), 60_000),
    code: 'activations/shard-size',
    names: /shard-00003\.arrow .*60000.*99802/,
  },
  gone: {
    change: (store) => rmSync(join(store, OTHER)),
    code: 'activations/no-shard',
    names: /shard-00003\.arrow/,
  },
};

for (const [name, { change, code, names }] of Object.entries(CHANGES)) {
  test(`a shard ${name} is not trained on`, async () => {
    const copy = join(root, name.replaceAll(' ', '-'));
    cpSync(acts, copy, { recursive: true });
    const store = join(copy, HOOK);
    change(store);
    const out = `${copy}-sae`;
    refused(await run(...logged(trainWords(store, out))), code, names);
    assert.equal(existsSync(join(out, 'cfg.json')), false);
    // Sizes are known without reading: nothing was begun.
    if (code !== 'activations/shard-changed') assert.equal(existsSync(out), false);
  });
}

test('a harvest does not resume a store that has lost listed files', async () => {
  for (const name of ['truncated', 'gone']) {
    const copy = join(root, `harvest-${name}`);
    cpSync(acts, copy, { recursive: true });
    const { change, code, names } = CHANGES[name]!;
    change(join(copy, HOOK));
    refused(await run(...logged([...harvestWords(copy), '--resume'])), code, names);
  }
  await succeeds([...harvestWords(acts), '--resume']);
});
