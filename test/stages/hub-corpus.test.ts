import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import type { Manifest } from '../../src/activations/manifest.js';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { harvest } from '../../src/harvest/harvest.js';
import { silent } from '../../src/progress/progress.js';
import { run } from '../cli/run-program.js';
import { COMMITS } from '../corpus/fake-datasets.js';
import { served } from '../corpus/served-datasets.js';
import { wholeDocuments } from '../corpus/whole-documents.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';

const HOOK = 'blocks.0.hook_mlp_out';

/** Forty documents of the bundled text in four files, two of them Parquet. */
async function dataset(): Promise<Map<string, Buffer>> {
  const texts: string[] = [];
  for await (const { text } of wholeDocuments('assets/corpus/validation.jsonl.gz', 'text')) {
    texts.push(text);
    if (texts.length === 40) break;
  }
  const parquet = (part: string[]) =>
    Buffer.from(parquetWriteBuffer({ columnData: [{ name: 'text', data: part, type: 'STRING' }], rowGroupSize: 4 }));
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

test('a harvest of a data set of the hub that was killed resumes to the same bytes', async (t) => {
  await served(t, { 'o/prose': { files: await dataset() } });
  const root = temporaryDirectory(t);
  await harvest(settings(join(root, 'whole')), silent, { signal: undefined });
  const crashing = {
    ...silent,
    update(done: number) {
      if (done > 3500 && done < 6000) throw new Error('crash');
    },
  };
  // Counting beforehand ends at what is wanted, and says so last.
  let label = '';
  const begin = (now: string) => {
    label = now;
  };
  const update = (done: number) => {
    if (label === 'harvesting') crashing.update(done);
  };
  const killed = settings(join(root, 'killed'));
  await assert.rejects(harvest(killed, { ...silent, begin, update }, { signal: undefined }), /crash/);
  await harvest({ ...killed, resume: true }, silent, { signal: undefined });
  const [whole, resumed] = ['whole', 'killed'].map((name) => filesBelow(join(root, name)));
  assert.deepEqual(resumed, whole);
  const manifest = JSON.parse(readFileSync(join(root, 'whole', HOOK, 'manifest.json'), 'utf8')) as Manifest;
  assert.equal(manifest.corpus, 'hf:o/prose');
  const names = manifest.corpus_files!.first.map(({ file }) => file);
  assert.deepEqual(
    names.sort(),
    [0, 1, 2, 3].map(
      (i) => `hf:o/prose@${COMMITS.main}/train-${i}.${i < 2 ? 'parquet' : i < 3 ? 'jsonl.gz' : 'jsonl'}`,
    ),
  );
});

test('the command line takes hf:…, says which files it reads, and refuses it offline', async (t) => {
  await served(t, { 'o/prose': { files: await dataset() } });
  const out = join(temporaryDirectory(t), 'out');
  const words = ['harvest', '--model', 'assets/tiny-gemma', '--corpus', 'hf:o/prose:train', '--hook', HOOK];
  const more = ['--tokens', '500', '--context', '64', '--out', out];
  const { code, stderr } = await run(...words, ...more);
  assert.equal(code, 0, stderr);
  assert.ok(stderr.includes(`hf:o/prose@${COMMITS.main}:train`), stderr);
  const offline = await run(...words, ...more, '--overwrite', '--offline');
  assert.equal(offline.code, 1);
  assert.match(offline.stderr, /--offline/);
});
