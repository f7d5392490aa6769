import assert from 'node:assert/strict';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { findStores, partName } from '../../src/activations/find-stores.js';
import type { Manifest } from '../../src/activations/manifest.js';
import { PressThreads } from '../../src/activations/shard-press.js';
import { storeStatistics } from '../../src/activations/statistics.js';
import { openStore, type Store } from '../../src/activations/store.js';
import { readContexts } from '../../src/activations/store-contexts.js';
import { openStoreSource } from '../../src/activations/store-source.js';
import type { Context } from '../../src/corpus/contexts.js';
import type { RefusalCode } from '../../src/errors/codes.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { harvestTokens, type TokenHarvest, textOf } from './token-harvest.js';
import { contextAt } from './token-pass.js';

/** Nine windows of 30 rows, the last one short. */
const TOKENS = 250;

/** Harvests part `index` below `out`; its directory. */
async function part(out: string, index: number, of: number, more: Partial<TokenHarvest> = {}): Promise<string> {
  const directory = join(out, partName({ index, of }));
  await harvestTokens({ tokens: TOKENS, ...more, out: directory, part: { index, of } });
  return directory;
}

async function allParts(out: string, of: number, more: Partial<TokenHarvest> = {}): Promise<string[]> {
  const directories = [];
  for (let index = 0; index < of; index++) directories.push(await part(out, index, of, more));
  return directories;
}

/** What a store is, wherever its files lie. */
function contentOf({ shards, manifest: { contexts, ...manifest } }: Store) {
  const { statistics: _, ...rest } = manifest;
  const without = <T extends { file: string }>(entries: readonly T[]) => entries.map(({ file: __, ...entry }) => entry);
  return { ...rest, shards: without([...shards]), contexts: without(contexts) };
}

const manifestAt = (directory: string): Manifest =>
  JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8')) as Manifest;

const changeManifest = (directory: string, change: (manifest: Manifest) => void) => {
  const manifest = manifestAt(directory);
  change(manifest);
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify(manifest));
};

/** A text in which half of the contexts, and some whole windows, have no row. */
async function* sparseText(): AsyncGenerator<Context> {
  for (let index = 0; index < 400; index++) {
    const context = contextAt(index);
    if (index % 2 === 0 || (index > 40 && index < 80)) context.tokens.fill(0);
    yield context;
  }
}

/** A text whose first window would be full before it has a row. */
async function* lateText(): AsyncGenerator<Context> {
  for await (const context of textOf()) {
    if (context.index < 10) context.tokens.fill(0);
    yield context;
  }
}

async function* firstOf(count: number): AsyncGenerator<Context> {
  for (let index = 0; index < count; index++) yield contextAt(index);
}

for (const [kind, text] of [
  ['every position', () => textOf()],
  ['some positions', sparseText],
] as const) {
  test(`2, 4 and 7 parts are the store of one harvest, shard by shard (${kind})`, async (t) => {
    const root = temporaryDirectory(t);
    const whole = join(root, 'whole');
    await harvestTokens({ tokens: TOKENS, out: whole, text: text() });
    const one = await openStore(whole);
    const { place: _, ...about } = (await openStoreSource({ activations: whole })).about;
    for (const of of [2, 4, 7]) {
      const out = join(root, String(of));
      const seen = new Set<string>();
      for (let index = 0; index < of; index++) {
        const directory = await part(out, index, of, { text: text() });
        for (const { sha256 } of manifestAt(directory).shards) {
          assert.ok(!seen.has(sha256), 'a shard is in one part alone');
          seen.add(sha256);
        }
      }
      const joined = await openStore(out);
      assert.deepEqual(contentOf(joined), contentOf(one));
      for (let shard = 0; shard < one.shards.length; shard++) {
        assert.deepEqual(await joined.readShard(shard), await one.readShard(shard));
      }
      const { place, ...same } = (await openStoreSource({ activations: out })).about;
      assert.equal(place, out);
      assert.deepEqual(same, about);
      // Tokens are whole numbers: sums of them do not depend on the order.
      assert.deepEqual(await storeStatistics(joined.parts), await storeStatistics(one.parts));
      const wanted = new Set([3, 21, 77]);
      assert.deepEqual(await readContexts(joined, wanted), await readContexts(one, wanted));
    }
  });
}

test('batches of parts are those of the whole, in one order that depends on the seed', async (t) => {
  const root = temporaryDirectory(t);
  const [whole, out] = [join(root, 'whole'), join(root, 'parts')];
  await harvestTokens({ tokens: TOKENS, out: whole });
  await allParts(out, 4);
  const dealt = async (activations: string, seed: number) => {
    const batches = (await openStoreSource({ activations, poolRows: 20 })).batches('shuffled', seed);
    return [...(await batches.next(2 * TOKENS)).x];
  };
  assert.deepEqual(await dealt(out, 3), await dealt(whole, 3));
  assert.notDeepEqual(await dealt(out, 4), await dealt(out, 3));
});

test('a part that is stopped anywhere resumes to the bytes of one that was not', async (t) => {
  const root = temporaryDirectory(t);
  const expected = await allParts(join(root, 'expected'), 3);
  for (const stopAt of [5, 30, 40, 60, 85]) {
    for (const [index, directory] of expected.entries()) {
      const out = join(root, `stopped-${stopAt}`);
      const ended = await part(out, index, 3, { stopAt }).catch((error: unknown) => error);
      if (stopAt < 60) assert.ok(ended instanceof Interrupted);
      const resumed = await part(out, index, 3, { resume: true });
      assert.deepEqual(manifestAt(resumed), manifestAt(directory), `part ${index}, stopped at ${stopAt}`);
    }
  }
  // A kill between the last window and the end of the text.
  changeManifest(expected[0]!, (manifest) => {
    manifest.complete = false;
    delete manifest.part!.whole;
  });
  await refuses(() => openStore(join(root, 'expected')), 'activations/incomplete', expected[0]!);
  assert.deepEqual(await part(join(root, 'expected'), 0, 3, { resume: true }), expected[0]);
  assert.equal((await openStore(join(root, 'expected'))).manifest.rows, TOKENS);
});

test('a window whose first groups have no row ends with a complete group, also after a stop within it', async (t) => {
  const root = temporaryDirectory(t);
  const harvested = async (out: string, more: Partial<TokenHarvest>, index?: number) => {
    const own = index === undefined ? {} : { part: { index, of: 2 } };
    await harvestTokens({ tokens: 90, atOnce: 2, text: lateText(), ...own, ...more, out: join(root, out) });
    return manifestAt(join(root, out));
  };
  for (const index of [undefined, 0]) {
    const expected = await harvested(`whole-${index}`, {}, index);
    const out = `stopped-${index}`;
    await assert.rejects(harvested(out, { stopAt: 5 }, index), Interrupted);
    assert.deepEqual(await harvested(out, { resume: true }, index), expected);
  }
});

test('parts whose passes are made ahead are those of the whole, also after a stop', async (t) => {
  const root = temporaryDirectory(t);
  const press = new PressThreads(1);
  try {
    for (let index = 0; index < 3; index++) {
      const ahead = { press, atOnce: 2, text: sparseText() };
      const ended = await part(join(root, 'ahead'), index, 3, { ...ahead, stopAt: 40 }).catch(
        (error: unknown) => error,
      );
      assert.ok(ended instanceof Interrupted);
      await part(join(root, 'ahead'), index, 3, { ...ahead, text: sparseText(), resume: true });
    }
    await harvestTokens({ tokens: TOKENS, out: join(root, 'whole'), text: sparseText() });
  } finally {
    await press.close();
  }
  const [ahead, whole] = [await openStore(join(root, 'ahead')), await openStore(join(root, 'whole'))];
  assert.deepEqual(contentOf(ahead), contentOf(whole));
});

test('a part is not resumed over another text, nor to other tokens', async (t) => {
  const root = temporaryDirectory(t);
  const stopped = (index: number) =>
    assert.rejects(part(root, index, 3, { stopAt: 35 }), Interrupted).then(() => ({ resume: true }));
  const resume = await stopped(1);
  await refuses(() => part(root, 1, 3, { ...resume, text: textOf(11) }), 'harvest/other-text');
  // Its first window is whole and has rows 30 to 60 of the text.
  for (const tokens of [20, 45]) await refuses(() => part(root, 1, 3, { ...resume, tokens }), 'harvest/fewer-tokens');
  // The last window is not a window of a longer harvest.
  await part(root, 2, 3);
  changeManifest(join(root, partName({ index: 2, of: 3 })), (manifest) => {
    manifest.complete = false;
  });
  await refuses(() => part(root, 2, 3, { resume: true, tokens: 290 }), 'harvest/fewer-tokens');
});

test('a text that ends early is reported by every part, and all can be finished with the tokens it had', async (t) => {
  const root = temporaryDirectory(t);
  // Windows of ten contexts; the last one has five, or none.
  for (const contexts of [95, 100]) {
    const out = join(root, String(contexts));
    const text = () => firstOf(contexts);
    for (let index = 0; index < 3; index++) {
      await refuses(() => part(out, index, 3, { tokens: 400, text: text() }), 'corpus/too-short', String(3 * contexts));
      await part(out, index, 3, { tokens: 3 * contexts, text: text(), resume: true });
    }
    assert.equal((await openStore(out)).manifest.rows, 3 * contexts);
  }
});

test('missing, duplicate, unfinished and mismatched parts are refused by name', async (t) => {
  const root = temporaryDirectory(t);
  const out = join(root, 'parts');
  const [first, second, third] = (await allParts(out, 3)) as [string, string, string];
  await refuses(() => openStore(first), 'activations/parts-missing', '1/3, 2/3');
  const list = [first, third].join(',');
  await refuses(() => openStore(list), 'activations/parts-missing', '1/3');
  const copy = join(root, 'copy');
  cpSync(second, copy, { recursive: true });
  await refuses(() => openStore(`${out},${copy}`), 'activations/part-twice', '1/3');
  const whole = join(root, 'whole');
  await harvestTokens({ tokens: TOKENS, out: whole });
  await refuses(() => openStore(`${out},${whole}`), 'activations/not-a-part', whole);

  const changed = async (change: (manifest: Manifest) => void) => {
    rmSync(copy, { recursive: true, force: true });
    cpSync(second, copy, { recursive: true });
    changeManifest(copy, change);
    return [first, copy, third].join(',');
  };
  const refused = async (change: (manifest: Manifest) => void, code: RefusalCode, ...words: string[]) => {
    const named = await changed(change);
    await refuses(() => openStore(named), code, ...words);
  };
  await refused((manifest) => Object.assign(manifest, { seed: 7 }), 'activations/parts-differ', 'seed');
  await refused((manifest) => Object.assign(manifest.part!, { of: 4 }), 'activations/parts-differ');
  await refused((manifest) => Object.assign(manifest, { rows_wanted: 9 }), 'activations/parts-differ', 'tokens');
  await refused((manifest) => Object.assign(manifest, { complete: false }), 'activations/incomplete', copy);
  await refused((manifest) => manifest.contexts.pop(), 'activations/wrong-counts');
  // What no harvest writes.
  await refused((manifest) => Object.assign(manifest.part!, { index: 3 }), 'disk/wrong-json', copy);
  await refused((manifest) => Object.assign(manifest.part!, { of: 5e9 }), 'disk/wrong-json', copy);
  // Another text in the windows of one part alone: every part has hashed all windows.
  rmSync(copy, { recursive: true });
  await harvestTokens({ tokens: TOKENS, out: copy, part: { index: 1, of: 3 }, text: textOf(14) });
  await refuses(() => openStore([first, copy, third].join(',')), 'activations/parts-differ', 'text');
});

test('parts are found by their directory, the one above it, a pattern or a list', async (t) => {
  const root = temporaryDirectory(t);
  const out = join(root, 'acts', 'hook');
  const parts = await allParts(out, 2);
  const found = async (named: string) => (await findStores(named)).map((directory) => basename(directory));
  const names = parts.map((directory) => basename(directory));
  for (const named of [out, join(root, 'acts'), join(root, '*', 'h*'), join(out, 'part-*'), parts.join(',')]) {
    assert.deepEqual(await found(named), names, named);
  }
  assert.deepEqual(await found(join(out, '{part-0,part-1}-of-2')), names);
  await refuses(() => findStores(join(root, 'nothing-*')), 'activations/no-match');
  await allParts(join(root, 'acts', 'other'), 2);
  await refuses(() => findStores(join(root, 'acts')), 'activations/several-stores', 'hook, other');
});
