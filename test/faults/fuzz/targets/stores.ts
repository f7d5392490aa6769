import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ActivationBatches } from '../../../../src/activations/batches.js';
import { type Manifest, readManifest } from '../../../../src/activations/manifest.js';
import { openStore } from '../../../../src/activations/store.js';
import { StoreWriter } from '../../../../src/activations/store-writer.js';
import { resumable } from '../../../../src/harvest/harvest-plan.js';
import { emptyManifest, filledWindow } from '../../../activations/synthetic.js';
import { mutateBytes } from '../bytes.js';
import { linkOut } from '../canary.js';
import { oneIn, pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { bytesOf, type Files, type Target } from '../target.js';

const MANIFEST = 'manifest.json';

/** A complete store of two windows in five shards, three numbers per row. */
export async function writeStore(directory: string): Promise<void> {
  const manifest = emptyManifest(40);
  const writer = new StoreWriter(directory, manifest);
  await writer.writeWindow(filledWindow(0, 3, manifest));
  await writer.writeWindow(filledWindow(1, 2, manifest));
}

/** Reads every shard, and the batches of an epoch and a half. */
async function read(directory: string): Promise<string> {
  const store = await openStore(directory);
  const { manifest, shards } = store;
  const hash = createHash('sha256');
  for (const [i, { rows }] of [...shards].entries()) {
    const { activation, token, context, pos } = await store.readShard(i);
    assert.deepEqual([activation.length, token.length], [rows * manifest.d_in, rows]);
    assert.deepEqual([context.length, pos.length], [rows, rows]);
    for (const column of [activation, token, context, pos]) hash.update(column);
  }
  const batches = new ActivationBatches(store, 'shuffled', 1);
  await batches.seek(Math.floor(manifest.rows / 3));
  for (let dealt = 0; dealt < 1.5 * manifest.rows && dealt < 1000; dealt += 7) {
    assert.equal((await batches.next(7)).x.length, 7 * manifest.d_in);
  }
  const { corpus: _, ...said } = manifest;
  return JSON.stringify([said, [...shards], hash.digest('hex')]);
}

const command = (directory: string, out: string) => ({
  args: [
    ...['train', '--activations', directory, '--d-sae', '8', '--batch', '4', '--steps', '3', '--engine', 'reference'],
    ...['--threads', '1', '--out', out],
  ],
});

const shard: Target = {
  name: 'Arrow shard',
  share: 5,
  module: import.meta.url,
  prepare: writeStore,
  mutate(files, random, elsewhere) {
    const manifest = JSON.parse(String(bytesOf(files, MANIFEST))) as Manifest;
    const entry = pick(random, manifest.shards);
    if (oneIn(random, 20)) {
      files.set(entry.file, linkOut(random, elsewhere));
      return;
    }
    const bytes = mutateBytes(bytesOf(files, entry.file), random);
    files.set(entry.file, bytes);
    // With the hash of the changed file, or its contents would hardly ever be read.
    if (!oneIn(random, 10)) entry.sha256 = createHash('sha256').update(bytes).digest('hex');
    files.set(MANIFEST, Buffer.from(JSON.stringify(manifest)));
  },
  read,
  command,
};

const manifest: Target = {
  name: 'manifest.json',
  share: 4,
  module: import.meta.url,
  async prepare(directory) {
    await writeStore(directory);
    const whole = await readManifest(directory);
    // Unfinished, with kept rows: what resuming reads.
    const { shards, contexts } = whole;
    const files = shards.slice(3).map(({ file, rows, sha256 }) => ({ file, rows, sha256 }));
    const partial = { contexts: 4, contexts_sha256: contexts[1]!.sha256, rows: 16, norm_sum: 1, files };
    const half = {
      ...whole,
      precision: 'float32',
      rows: 24,
      complete: false,
      shards: shards.slice(0, 3),
      contexts: [contexts[0]],
      partial,
    };
    writeFileSync(join(directory, 'half.json'), JSON.stringify(half));
  },
  mutate(files, random, elsewhere) {
    if (oneIn(random, 2)) return lie(files, random, elsewhere);
    const name = pick(random, [MANIFEST, 'half.json']);
    files.set(name, mutateJson(String(bytesOf(files, name)), random, elsewhere));
  },
  async read(directory, random) {
    return oneIn(random, 2) ? read(directory) : readHalf(directory);
  },
  command,
};

/** A number, a flag or a path of the manifest that is not so. */
function lie(files: Files, random: Parameters<Target['mutate']>[1], elsewhere: readonly string[]): void {
  const name = pick(random, [MANIFEST, 'half.json']);
  const json = JSON.parse(String(bytesOf(files, name))) as Manifest;
  const counts = [0, 1, 3, 40, 41, 2 ** 31, 2 ** 53 - 1];
  const entry = pick(random, json.shards);
  pick(random, [
    () => (entry.rows = pick(random, counts)),
    () => (json.rows = pick(random, counts)),
    () => (json.d_in = pick(random, counts)),
    () => (json.dtype = pick(random, ['float16', 'bfloat16', 'float32'] as const)),
    () => (entry.file = pick(random, [...elsewhere, 'manifest.json', '..', json.shards[0]!.file])),
    () => Object.assign(json, { rows: 0, rows_wanted: 0, shards: [], contexts: [] }),
    () => (json.complete = !json.complete),
    () => (json.mean_norm = pick(random, [null, 0, -1, 1e308, 1e-308])),
    () => (json.shards = Array.from({ length: 150_000 }, () => entry)),
    () => (json.contexts[0]!.contexts = pick(random, counts)),
    () => Object.assign(json.partial?.files[0] ?? json, { file: pick(random, elsewhere) }),
    () => Object.assign(json.partial ?? json, { rows: pick(random, counts) }),
  ])();
  files.set(name, Buffer.from(JSON.stringify(json)));
}

/** What `harvest --resume` reads of an unfinished store. */
async function readHalf(directory: string): Promise<string> {
  const text = readFileSync(join(directory, 'half.json'));
  rmSync(join(directory, MANIFEST), { force: true });
  writeFileSync(join(directory, MANIFEST), text);
  const found = await resumable(directory, emptyManifest(40, { precision: 'float32' }));
  assert.ok(found);
  const pieces = await new StoreWriter(directory, found).readPartial();
  const rows = pieces?.map(({ token, activation }) => [token.length, activation.length / found.d_in]);
  for (const [a, b] of rows ?? []) assert.equal(a, b);
  return JSON.stringify(['half', found, rows]);
}

export const STORES = [shard, manifest];
