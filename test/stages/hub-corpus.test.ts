import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { parquetMetadata } from 'hyparquet';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { type Manifest, readManifest, writeManifest } from '../../src/activations/manifest.js';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { harvest } from '../../src/harvest/harvest.js';
import { silent } from '../../src/progress/progress.js';
import { Generator } from '../../src/random/generator.js';
import { startIn } from '../cli/run-program.js';
import { refuses } from '../config/refuses.js';
import { COMMITS } from '../corpus/fake-datasets.js';
import { served } from '../corpus/served-datasets.js';
import { wholeDocuments } from '../corpus/whole-documents.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';

const HOOK = 'blocks.0.hook_mlp_out';
const OTHER_HOOK = 'blocks.1.hook_mlp_out';
const ROWS_OF_GROUP = 2;

/** Forty pieces of the bundled text in four files, two of them Parquet. */
async function dataset(): Promise<Map<string, Buffer>> {
  let prose = '';
  for await (const { text } of wholeDocuments('assets/corpus/validation.jsonl.gz', 'text')) {
    prose += text;
    if (prose.length > 40 * 700) break;
  }
  const texts = Array.from({ length: 40 }, (_, i) => prose.slice(700 * i, 700 * (i + 1)));
  // One that comes again.
  texts[25] = texts[3]!;
  // In a small file, the end that is requested first, for the footer, would be all of it.
  const random = new Generator(1);
  const padding = (part: string[]) => part.map(() => Array.from({ length: 12_000 }, () => random.below(1000)).join());
  const parquet = (part: string[]) =>
    Buffer.from(
      parquetWriteBuffer({
        columnData: [
          { name: 'text', data: part, type: 'STRING' },
          { name: 'more', data: padding(part), type: 'STRING' },
        ],
        rowGroupSize: ROWS_OF_GROUP,
      }),
    );
  const lines = (part: string[]) => Buffer.from(part.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  return new Map([
    ['train-0.parquet', parquet(texts.slice(0, 10))],
    ['train-1.parquet', parquet(texts.slice(10, 20))],
    ['train-2.jsonl.gz', gzipSync(lines(texts.slice(20, 30)))],
    ['train-3.jsonl', lines(texts.slice(30))],
  ]);
}

const settings = (out: string) =>
  harvestSchema.parse({
    ...{ model: 'assets/tiny-gemma', corpus: 'hf:o/prose', hook: [HOOK], tokens: 6000, context: 64, batch: 4 },
    ...{ windowRows: 1000, rowsPerShard: 500, seed: 3, threads: 1, out },
  });

/** Harvests until there are this many rows, and then crashes. */
async function killedAt(config: ReturnType<typeof settings>, rows: number): Promise<void> {
  // Counting beforehand ends at what is wanted, and says so last.
  let label = '';
  const begin = (now: string) => {
    label = now;
  };
  const update = (done: number) => {
    if (label === 'harvesting' && done > rows && done < 6000) throw new Error('crash');
  };
  await assert.rejects(harvest(config, { ...silent, begin, update }, { signal: undefined }), /crash/);
}

const manifestOf = (out: string) => readManifest(join(out, HOOK));

test('a harvest of a data set of the hub that was killed resumes to the same bytes, and reads nothing again', async (t) => {
  const files = await dataset();
  const { hub } = await served(t, { 'o/prose': { files } });
  const root = temporaryDirectory(t);
  await harvest(settings(join(root, 'whole')), silent, { signal: undefined });
  const all = await manifestOf(join(root, 'whole'));
  assert.equal(all.corpus, 'hf:o/prose');
  assert.equal(all.text_read![0]!.duplicates, 1);
  assert.ok(!('text_position' in all) && !('text_identity' in all), 'a complete store has nothing to continue');
  const names = all.corpus_files!.first.map(({ file }) => file.split('/').at(-1)!);
  assert.deepEqual(names.toSorted(), [...files.keys()]);
  for (const [i, rows] of [2100, 4100].entries()) {
    const out = join(root, String(i));
    await killedAt(settings(out), rows);
    const { text_position: position } = await manifestOf(out);
    assert.equal(position!.file, i + 1);
    hub.bytes.length = 0;
    await harvest({ ...settings(out), resume: true }, silent, { signal: undefined });
    assert.deepEqual(filesBelow(out), filesBelow(join(root, 'whole')));
    const done = names.slice(0, position!.file);
    // The first bytes of the first file tell whether it may be read at all.
    const again = hub.bytes.filter(({ path, to }) => done.includes(path) && to > 3);
    assert.deepEqual(again, [], `${done} of ${names}`);
    const at = names[position!.file]!;
    const first = firstByteAt(files.get(at)!, at, position!);
    const before = hub.bytes.filter(({ path, from, to }) => path === at && to > 3 && from < first);
    assert.deepEqual(before, [], `${at} from ${first} on`);
  }
});

/** The first byte of a file that must be requested when reading begins at a position. */
function firstByteAt(bytes: Buffer, name: string, { row, byte }: NonNullable<Manifest['text_position']>): number {
  if (!name.endsWith('.parquet')) return name.endsWith('.gz') ? 0 : byte;
  const { row_groups } = parquetMetadata(new Uint8Array(bytes).buffer);
  const group = row_groups[Math.floor(row / ROWS_OF_GROUP)]!;
  const { dictionary_page_offset: dictionary, data_page_offset: data } = group.columns[0]!.meta_data!;
  return Number(dictionary ?? data);
}

test('where the hub lists other hashes, the text is read again and compared', async (t) => {
  const files = await dataset();
  const out = join(temporaryDirectory(t), 'out');
  await served(t, { 'o/prose': { files } });
  await killedAt(settings(out), 4100);
  // A listing serves a whole process, by the address of the server.
  const { hub } = await served(t, { 'o/prose': { files } });
  hub.faults = { otherHashes: true };
  await harvest({ ...settings(out), resume: true }, silent, { signal: undefined });
  const { corpus_files: read, complete } = await manifestOf(out);
  const first = read!.first[0]!.file.split('/').at(-1);
  assert.ok(complete && hub.bytes.some(({ path, to }) => path === first && to > 3));
});

test('a store of another text is detected, even if reading continues after its text', async (t) => {
  await served(t, { 'o/prose': { files: await dataset() } });
  const out = join(temporaryDirectory(t), 'out');
  const both = { ...settings(out), hook: [HOOK, OTHER_HOOK] };
  await killedAt(both, 2100);
  const other = join(out, OTHER_HOOK);
  const { journal, ...manifest } = await readManifest(other);
  assert.ok(journal, 'windows are listed in a journal');
  manifest.contexts[0]!.sha256 = '0'.repeat(64);
  await writeManifest(other, manifest);
  await refuses(() => harvest({ ...both, resume: true }, silent, { signal: undefined }), 'harvest/other-text');
});

test('the command line takes hf:…, says which files it reads, keeps them, and reads nothing else offline', async (t) => {
  const { hub } = await served(t, { 'o/prose': { files: await dataset() } });
  const root = temporaryDirectory(t);
  const words = ['harvest', '--model', 'assets/tiny-gemma', '--hook', HOOK, '--tokens', '500', '--context', '64'];
  const env = { SAE_PIPE_CACHE: join(root, 'cache') };
  const told = (out: string, ...more: string[]) => startIn(env, ...words, '--out', join(root, out), ...more).outcome;
  const { code, stderr } = await told('online', '--corpus', 'hf:o/prose:train', '--cache-corpus');
  assert.equal(code, 0, stderr);
  assert.ok(stderr.includes(`hf:o/prose@${COMMITS.main}:train`), stderr);
  const { apiRequests, bytes } = hub;
  const asked = bytes.length;
  const offline = await told('offline', '--corpus', 'hf:o/prose:train', '--offline');
  assert.equal(offline.code, 0, offline.stderr);
  assert.deepEqual([hub.apiRequests, hub.bytes.length], [apiRequests, asked]);
  assert.deepEqual(filesBelow(join(root, 'offline')), filesBelow(join(root, 'online')));
  const refused = await told('refused', '--corpus', 'hf:o/other', '--offline');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /--offline/);
});
