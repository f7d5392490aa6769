import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { tableFromIPC } from 'apache-arrow';
import { encodeContexts } from '../../src/activations/arrow-rows.js';
import { type Manifest, readManifest, writeManifest } from '../../src/activations/manifest.js';
import type { Rows } from '../../src/activations/rows.js';
import { ShardMemory } from '../../src/activations/shard-memory.js';
import { PRESS_HERE, type ShardPress } from '../../src/activations/shard-press.js';
import { StoreWriter, Window } from '../../src/activations/store-writer.js';
import { temporaryDirectory } from '../temporary.js';
import { addPass, context, emptyManifest, filledWindow } from './synthetic.js';

/** Windows of 24, 24 and 16 rows; shards of 10. */
const PASSES = [3, 3, 2];
const ROWS = 64;

async function newStore(
  t: TestContext,
  settings: Partial<Manifest> = {},
): Promise<{ directory: string; manifest: Manifest }> {
  const directory = temporaryDirectory(t);
  const manifest = emptyManifest(ROWS, settings);
  await writeManifest(directory, manifest);
  return { directory, manifest };
}

async function writeFrom(directory: string, manifest: Manifest, kind = Window, from = 0): Promise<void> {
  const writer = new StoreWriter(directory, manifest);
  for (let i = from; i < PASSES.length; i++) await writer.writeWindow(filledWindow(i, PASSES[i]!, manifest, kind));
}

const contentsOf = (directory: string) =>
  Object.fromEntries(
    readdirSync(directory)
      .sort()
      .map((name) => [name, readFileSync(join(directory, name), 'hex')]),
  );

async function undisturbed(t: TestContext): Promise<Record<string, string>> {
  const { directory, manifest } = await newStore(t);
  await writeFrom(directory, manifest);
  return contentsOf(directory);
}

test('the manifest lists every file, in order, with its rows and hash', async (t) => {
  const { directory, manifest } = await newStore(t);
  await writeFrom(directory, manifest);
  const found = await readManifest(directory);
  assert.deepEqual(
    found.shards.map(({ file, rows, window }) => [file, rows, window]),
    [
      ['shard-00000.arrow', 10, 0],
      ['shard-00001.arrow', 10, 0],
      ['shard-00002.arrow', 4, 0],
      ['shard-00003.arrow', 10, 1],
      ['shard-00004.arrow', 10, 1],
      ['shard-00005.arrow', 4, 1],
      ['shard-00006.arrow', 10, 2],
      ['shard-00007.arrow', 6, 2],
    ],
  );
  assert.deepEqual(
    found.contexts.map(({ file, first, contexts, rows }) => [file, first, contexts, rows]),
    [
      ['contexts-00000.arrow', 0, 6, 24],
      ['contexts-00001.arrow', 6, 6, 24],
      ['contexts-00002.arrow', 12, 4, 16],
    ],
  );
  const listed = [...found.shards, ...found.contexts, found.statistics!];
  assert.deepEqual(readdirSync(directory).sort(), ['manifest.json', ...listed.map(({ file }) => file)].sort());
  for (const { file, sha256 } of listed) {
    assert.equal(
      createHash('sha256')
        .update(readFileSync(join(directory, file)))
        .digest('hex'),
      sha256,
      file,
    );
  }
});

test('counts, mean norm and completeness follow the windows that are done', async (t) => {
  const { directory, manifest } = await newStore(t);
  const writer = new StoreWriter(directory, manifest);
  let [rows, norms] = [0, 0];
  for (const [i, passes] of PASSES.entries()) {
    assert.equal(writer.windowsDone, i);
    const window = filledWindow(i, passes, manifest);
    await writer.writeWindow(window);
    rows += window.rows;
    for (const piece of window.inOrder(10)) for (const token of piece.token) norms += token / 7;
    const found = await readManifest(directory);
    assert.equal(found.rows, rows);
    // Norms are float32, so their sum differs from this one by rounding.
    assert.ok(Math.abs(found.mean_norm! - norms / rows) < 1e-5 * found.mean_norm!);
    assert.equal(found.complete, i === PASSES.length - 1);
  }
});

test('memory is reused for the shards of a window, and none is kept for the next', async (t) => {
  const { directory, manifest } = await newStore(t);
  let [used, allocated] = [new Set<ArrayBufferLike>(), 0];
  const press: ShardPress = {
    ...PRESS_HERE,
    press: (rows, d, dtype) => {
      allocated += Number(!used.has(rows.activation.buffer));
      used.add(rows.activation.buffer);
      return PRESS_HERE.press(rows, d, dtype);
    },
  };
  const writer = new StoreWriter(directory, manifest, press);
  const before = new Set<ArrayBufferLike>();
  for (const [i, passes] of PASSES.entries()) {
    [used, allocated] = [new Set(), 0];
    await writer.writeWindow(filledWindow(i, passes, manifest));
    // The last shard, which may have any size, takes that of the others.
    assert.equal(allocated, 1);
    for (const buffer of used) assert.ok(!before.has(buffer));
    for (const buffer of used) before.add(buffer);
  }
});

test('a shard that cannot be encoded is told when those before it are listed', async (t) => {
  const { directory, manifest } = await newStore(t);
  let asked = 0;
  const press: ShardPress = {
    ...PRESS_HERE,
    memory: new ShardMemory(3),
    press: async (...shard) => {
      if (asked++ === 1) throw new Error('no thread');
      return PRESS_HERE.press(...shard);
    },
  };
  await assert.rejects(new StoreWriter(directory, manifest, press).writeWindow(filledWindow(0, 3, manifest)), /thread/);
  const left = readdirSync(directory).sort();
  assert.deepEqual(left, ['manifest.json', 'shard-00000.arrow']);
  assert.equal((await readManifest(directory)).shards.length, 1);
});

test('the contexts of each window are next to its shards', async (t) => {
  const { directory, manifest } = await newStore(t);
  await writeFrom(directory, manifest);
  const bytes = readFileSync(join(directory, 'contexts-00001.arrow'));
  assert.deepEqual([...tableFromIPC(bytes).getChild('context')!], [6, 7, 8, 9, 10, 11]);
  assert.ok(bytes.equals(encodeContexts([6, 7, 8, 9, 10, 11].map(context))));
});

/** Ends in the middle of window `at.window`: with shards before `at.shard` listed, and `before` called then. */
function killedAt(at: { window: number; shard: number }, before: () => void): typeof Window {
  return class extends Window {
    override *shards(rowsPerShard: number, seed: number): Iterable<Rows> {
      let shard = 0;
      for (const rows of super.shards(rowsPerShard, seed)) {
        if (this.index === at.window && shard++ === at.shard) before();
        yield rows;
      }
    }
  };
}

const PLACES = [0, 1, 2].flatMap((window) => [0, 1, 2].map((shard) => ({ window, shard }))).slice(0, 8);

test('a run killed between two shards is resumed to the same bytes', async (t) => {
  const expected = await undisturbed(t);
  for (const at of PLACES) {
    const { directory, manifest } = await newStore(t);
    const kill = () => assert.fail('killed');
    await assert.rejects(writeFrom(directory, manifest, killedAt(at, kill)), /killed/);
    const onDisk = await readManifest(directory);
    assert.equal(onDisk.contexts.length, at.window);
    assert.equal(onDisk.shards.length, at.window * 3 + at.shard);
    assert.equal(onDisk.complete, false);
    await writeFrom(directory, onDisk, Window, onDisk.contexts.length);
    assert.deepEqual(contentsOf(directory), expected, JSON.stringify(at));
  }
});

test('a run killed after a shard was written, before it was listed, is resumed to the same bytes', async (t) => {
  const expected = await undisturbed(t);
  for (const at of PLACES) {
    const { directory, manifest } = await newStore(t);
    const kept = join(directory, 'kept');
    let path = '';
    // No file can be renamed over a directory, or opened in its place.
    const blocked = () => {
      path = join(directory, manifest.journal ?? 'manifest.json');
      if (existsSync(path)) renameSync(path, kept);
      mkdirSync(path);
    };
    await assert.rejects(writeFrom(directory, manifest, killedAt(at, blocked)));
    rmdirSync(path);
    if (existsSync(kept)) renameSync(kept, path);
    const onDisk = await readManifest(directory);
    const next = `shard-${String(onDisk.shards.length).padStart(5, '0')}.arrow`;
    assert.ok(readdirSync(directory).includes(next));
    await writeFrom(directory, onDisk, Window, onDisk.contexts.length);
    assert.deepEqual(contentsOf(directory), expected, JSON.stringify(at));
  }
});

test('a run killed after all shards of a window, before its contexts, is resumed to the same bytes', async (t) => {
  const expected = await undisturbed(t);
  for (const window of PASSES.keys()) {
    const { directory, manifest } = await newStore(t);
    const inTheWay = join(directory, `contexts-0000${window}.arrow`);
    mkdirSync(inTheWay);
    await assert.rejects(writeFrom(directory, manifest));
    rmdirSync(inTheWay);
    const onDisk = await readManifest(directory);
    assert.equal(onDisk.contexts.length, window);
    await writeFrom(directory, onDisk, Window, window);
    assert.deepEqual(contentsOf(directory), expected);
  }
});

test('shards already listed are not written again', async (t) => {
  const { directory, manifest } = await newStore(t);
  await assert.rejects(
    writeFrom(
      directory,
      manifest,
      killedAt({ window: 0, shard: 2 }, () => assert.fail('killed')),
    ),
  );
  const untouched = join(directory, 'shard-00001.arrow');
  writeFileSync(untouched, 'as it was');
  await writeFrom(directory, await readManifest(directory));
  assert.equal(readFileSync(untouched, 'utf8'), 'as it was');
});

test('an interrupted window is kept, put back, and finished to the same bytes', async (t) => {
  const expected = await undisturbed(t);
  const { directory, manifest } = await newStore(t);
  const before = new StoreWriter(directory, manifest);
  await before.writeWindow(filledWindow(0, 3, manifest));
  await before.writePartial(filledWindow(1, 2, manifest));
  assert.ok(readdirSync(directory).includes('partial-00001.arrow'), 'in pieces as large as shards');

  const onDisk = await readManifest(directory);
  assert.deepEqual([onDisk.partial!.contexts, onDisk.partial!.rows, onDisk.rows], [4, 16, 24]);
  const after = new StoreWriter(directory, onDisk);
  const window = new Window(after.windowsDone, onDisk.d_in, onDisk.dtype);
  window.restore((await after.readPartial())!, onDisk.partial!.norm_sum);
  window.contexts.push(...[6, 7, 8, 9].map(context));
  addPass(window, onDisk, 2);
  await after.writeWindow(window);
  await after.writeWindow(filledWindow(2, 2, onDisk));
  assert.deepEqual(contentsOf(directory), expected);
});

test('rows of an interrupted window that were changed or removed are not put back', async (t) => {
  const { directory, manifest } = await newStore(t);
  const writer = new StoreWriter(directory, manifest);
  const restored = async () => {
    const pieces = await writer.readPartial();
    if (pieces)
      assert.equal(
        pieces.reduce((sum, { token }) => sum + token.length, 0),
        8,
      );
    return pieces !== null;
  };
  assert.equal(await restored(), false);
  await writer.writePartial(filledWindow(0, 1, manifest));
  assert.equal(await restored(), true);
  const path = join(directory, 'partial-00000.arrow');
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path, bytes);
  assert.equal(await restored(), false);
  rmSync(path);
  assert.equal(await restored(), false);
});
