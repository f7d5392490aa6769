import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { readDocuments } from '../../../../src/corpus/documents.js';
import type { CorpusFile } from '../../../../src/corpus/file-kind.js';
import { hubCorpus } from '../../../../src/corpus/hub-dataset.js';
import type { Generator } from '../../../../src/random/generator.js';
import { type DatasetFaults, FakeDatasets, TOKEN } from '../../../corpus/fake-datasets.js';
import { mutateBytes } from '../bytes.js';
import { oneIn, pick } from '../chance.js';
import { bytesOf, type Files, type Target } from '../target.js';
import { bomb } from './corpora.js';

const FAULTS = 'faults.json';
/** The last has no checksum that would notice wrong bytes. */
const FILES = ['a.parquet', 'b.jsonl.gz', 'c.txt.zst', 'd.jsonl'];
const LINES = Array.from({ length: 300 }, (_, i) => `${JSON.stringify({ text: `line ${i} λ` })}\n`).join('');

/** What a server may do, right or wrong. */
function faultsOf(random: Generator): DatasetFaults {
  const some = (most: number) => 1 + random.below(most);
  return pick<() => DatasetFaults>(random, [
    () => ({ cuts: { times: some(9), after: random.below(12_000) } }),
    () => ({ fails: { times: some(9), status: pick(random, [403, 404, 416, 429, 500, 503]) } }),
    () => ({ sizeLie: pick(random, [-1, 1, 1000, 2 ** 40, -9]) }),
    () => ({ ranges: pick(random, ['ignored', 'shifted', 'too long']) }),
    () => ({ total: pick(random, [0, 1, 11_452, 2 ** 40]) }),
    () => ({ expires: some(4) }),
    () => ({ lengthLie: pick(random, [-1, 1, -1000, 1000, 2 ** 33]) }),
    () => ({ onward: true }),
    () => ({ onward: true, cuts: { times: some(3), after: random.below(5000) } }),
    () => ({ circles: 'storage' }),
    () => ({ circles: 'listing' }),
  ])();
}

/** SHA-256 over the documents of corpora, one after another. */
async function textOf(corpora: readonly { corpus: string; files?: readonly CorpusFile[] }[]): Promise<string> {
  const hash = createHash('sha256');
  for (const { corpus, files } of corpora) {
    for await (const { pieces } of readDocuments(corpus, 'text', { files })) {
      for await (const piece of pieces) hash.update(piece);
      hash.update('\0');
    }
  }
  return hash.digest('hex');
}

/** Serves a directory as a data set with the faults that it names, and reads all its documents. */
async function read(directory: string): Promise<string> {
  const files = new Map(FILES.map((name) => [name, readFileSync(join(directory, name))]));
  const ends: (() => void)[] = [];
  const hub = await FakeDatasets.start({ after: (end) => ends.push(end) }, { 'o/d': { files } });
  hub.faults = JSON.parse(readFileSync(join(directory, FAULTS), 'utf8')) as DatasetFaults;
  Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_TOKEN: TOKEN });
  const patience = { attempts: 3, delay: 1, stall: 3000, poll: 20 };
  const settings = { endpoint: hub.endpoint, cache: directory, offline: false, token: TOKEN, patience };
  let text: string;
  try {
    const found = await hubCorpus({ corpus: 'hf:o/d' }, settings);
    text = await textOf([{ corpus: 'hf:o/d', files: found.files }]);
    const here = found.files.map(({ path }) => ({ corpus: join(directory, basename(path)) }));
    const same = await textOf(here).catch((error) => assert.fail(`the hub gives a text, and the disk none: ${error}`));
    assert.equal(text, same, 'the hub gives another text than the files have');
  } finally {
    for (const end of ends) end();
    delete process.env.HF_TOKEN;
    const { storage } = hub.authorizations;
    assert.ok(
      storage.every((header) => header === undefined),
      'the token went to storage',
    );
    assert.ok(readdirSync(directory).length === FILES.length + 1, 'something was written');
  }
  return text;
}

/** A data set of a hub that lies, breaks off, redirects elsewhere or does not end, and files that are damaged. */
export const hubCorpora: Target = {
  name: 'corpus of the hub',
  share: 3,
  module: import.meta.url,
  prepare: async (directory) => {
    copyFileSync('test/corpus/fixtures/prose.parquet', join(directory, 'a.parquet'));
    writeFileSync(join(directory, 'b.jsonl.gz'), gzipSync(LINES));
    copyFileSync('test/corpus/fixtures/two-frames.txt.zst', join(directory, 'c.txt.zst'));
    writeFileSync(join(directory, 'd.jsonl'), LINES);
    writeFileSync(join(directory, FAULTS), '{}');
  },
  mutate(files: Files, random: Generator) {
    if (oneIn(random, 3)) {
      const name = pick(random, FILES);
      const bytes = bytesOf(files, name);
      files.set(name, name.endsWith('.gz') && oneIn(random, 6) ? bomb() : mutateBytes(bytes, random));
    } else files.set(FAULTS, Buffer.from(JSON.stringify(faultsOf(random))));
  },
  read,
  memory: 1200,
};
