import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { readDocuments } from '../../src/corpus/documents.js';
import { hubCorpus } from '../../src/corpus/hub-dataset.js';
import { KeptRanges } from '../../src/corpus/kept-ranges.js';
import type { HubSettings } from '../../src/hub/request.js';
import { Generator } from '../../src/random/generator.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { COMMITS } from './fake-datasets.js';
import { fixtures, served } from './served-datasets.js';
import { wholeDocument } from './whole-documents.js';

const CORPUS = 'hf:o/two';
const rmAll = { recursive: true, force: true };
const files = new Map([
  ...fixtures('prose.parquet'),
  ['more.jsonl', Buffer.from(Array.from({ length: 40 }, (_, i) => `{"text":"line ${i}"}\n`).join(''))],
]);

async function texts(settings: HubSettings, cacheCorpus = true, seed = 0, corpus = CORPUS): Promise<string[]> {
  const found = await hubCorpus({ corpus, seed, cacheCorpus }, settings);
  const read = [];
  for await (const document of readDocuments(corpus, 'text', { files: found.files })) {
    read.push((await wholeDocument(document)).text);
  }
  return read;
}

/** A data set that is served, and an empty cache. */
async function begun(t: Parameters<typeof served>[0]) {
  const { hub, settings } = await served(t, { 'o/two': { files } });
  const cache = temporaryDirectory();
  const before = process.env.SAE_PIPE_CACHE;
  process.env.SAE_PIPE_CACHE = cache;
  t.after(() => {
    if (before === undefined) delete process.env.SAE_PIPE_CACHE;
    else process.env.SAE_PIPE_CACHE = before;
  });
  const kept = () => readdirSync(cache, { recursive: true, encoding: 'utf8' }).map((name) => join(cache, name));
  return { hub, settings, cache, kept };
}

test('what is read of a data set is kept, and read from there: online, and offline without a request', async (t) => {
  const { hub, settings, cache } = await begun(t);
  const whole = await texts(settings, false);
  assert.ok(!existsSync(join(cache, 'corpora')), 'without the flag nothing is kept');
  assert.deepEqual(await texts(settings), whole);
  const { length } = hub.bytes;
  assert.deepEqual(await texts(settings), whole);
  assert.equal(hub.bytes.length, length, 'no byte is asked for again');
  const { apiRequests } = hub;
  assert.deepEqual(await texts({ ...settings, offline: true }, false), whole);
  assert.equal(hub.apiRequests, apiRequests);
  assert.equal(hub.bytes.length, length);
});

test('kept parts that are damaged or cut short are fetched again; offline they are refused, as damaged listings are', async (t) => {
  const { hub, settings, kept } = await begun(t);
  const whole = await texts(settings);
  const offline = { ...settings, offline: true };
  const parts = () => kept().filter((path) => /\d+-\d+-[0-9a-f]{64}$/.test(path) && !path.includes('-4-'));
  const damages = [
    (path: string) => truncateSync(path, 1),
    (path: string) => appendFileSync(path, 'x'),
    (path: string) => {
      const bytes = readFileSync(path);
      bytes[7]! ^= 1;
      writeFileSync(path, bytes);
    },
  ];
  for (const damage of damages) {
    for (const path of parts()) damage(path);
    const { length } = hub.bytes;
    assert.deepEqual(await texts(settings), whole);
    assert.ok(hub.bytes.length > length);
  }
  for (const path of parts()) damages[0]!(path);
  await refuses(() => texts(offline), 'corpus/not-kept', '--cache-corpus');
  await texts(settings);
  for (const path of kept().filter((name) => name.includes('info-'))) appendFileSync(path, 'x');
  await refuses(() => texts(offline, true, 1), 'corpus/offline', CORPUS, '--cache-corpus');
});

test('ranges in any order have the bytes of the file, and no byte is fetched twice', async () => {
  const random = new Generator(3);
  const bytes = Uint8Array.from({ length: 1000 }, () => random.below(256));
  const times = new Uint8Array(1000);
  const fetch = async (start: number, end: number) => {
    for (let at = start; at < end; at++) times[at]!++;
    return bytes.slice(start, end);
  };
  const directory = temporaryDirectory();
  for (let opened = 0; opened < 4; opened++) {
    const kept = await KeptRanges.open(directory);
    for (let read = 0; read < 15; read++) {
      const [a, b] = [random.below(1000), random.below(1000)].sort((x, y) => x - y) as [number, number];
      assert.deepEqual(await kept.read(a, b, fetch), bytes.slice(a, b));
    }
  }
  assert.ok(times.every((count) => count <= 1));
});

test('what was kept of a branch is read offline by its commit, and offline nothing is made', async (t) => {
  const { settings, kept } = await begun(t);
  const whole = await texts(settings);
  const before = kept().sort();
  const offline = { ...settings, offline: true };
  assert.deepEqual(await texts(offline, false, 0, `${CORPUS}@${COMMITS.main}`), whole);
  await refuses(() => texts(offline, false, 0, `${CORPUS}@${'0'.repeat(40)}`), 'corpus/offline');
  await refuses(() => texts(offline, false, 0, 'hf:o/other'), 'corpus/offline');
  for (const path of before.filter((name) => /\d+-\d+-[0-9a-f]{64}$/.test(name))) rmSync(dirname(path), rmAll);
  const left = kept().sort();
  // Files are listed once per process, by the reference.
  await refuses(() => texts(offline, true, 0, `${CORPUS}@main`), 'corpus/not-kept');
  assert.deepEqual(kept().sort(), left);
});

test('a kept part that cannot be read now is not removed', async () => {
  const directory = temporaryDirectory();
  const name = `0-4-${'a'.repeat(64)}`;
  symlinkSync(name, join(directory, name));
  const part = await KeptRanges.open(directory, true);
  await assert.rejects(
    part.read(0, 4, () => Promise.reject(new Error('offline'))),
    /offline/,
  );
  assert.deepEqual(readdirSync(directory), [name]);
});
