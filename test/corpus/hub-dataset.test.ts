import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { parquetMetadata } from 'hyparquet';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { corpusFiles } from '../../src/corpus/documents.js';
import { hubCorpus } from '../../src/corpus/hub-dataset.js';
import { Generator } from '../../src/random/generator.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { COMMITS, type DatasetFaults, TOKEN } from './fake-datasets.js';
import { fixtures, served } from './served-datasets.js';
import { wholeDocuments } from './whole-documents.js';

const lines = (...texts: string[]) => Buffer.from(texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
const files = (entries: Record<string, Buffer>) => new Map(Object.entries(entries));

async function local(path: string, textField = 'text'): Promise<string[]> {
  const texts = [];
  for await (const { text } of wholeDocuments(path, textField)) texts.push(text);
  return texts;
}

const texts = (documents: readonly { text: string }[]) => documents.map(({ text }) => text);

test('files that pyarrow wrote, in every codec and encoding, are read as from the disk', async (t) => {
  const names = readdirSync('test/corpus/fixtures').filter((name) => /^(form-|prose|two-frames|tiny)/.test(name));
  const { read, hub } = await served(t, { 'o/forms': { files: fixtures(...names) } });
  for (const name of names) {
    const found = await read(`hf:o/forms/${name}`);
    assert.deepEqual(texts(found), await local(`test/corpus/fixtures/${name}`), name);
    assert.ok(found[0]!.source.startsWith(`hf:o/forms@${COMMITS.main}/${name}`), found[0]!.source);
  }
  assert.ok(hub.authorizations.storage.length > names.length);
});

/** A Parquet file with a text column among wider ones, in several row groups. */
function wideTable(rows: number): Buffer {
  const random = new Generator(7);
  const letters = (length: number) => Buffer.from(Array.from({ length }, () => 97 + random.below(26))).toString();
  const column = (name: string, length: number) => ({
    ...{ name, type: 'STRING' as const },
    data: Array.from({ length: rows }, () => letters(length)),
  });
  const columnData = [column('before', 2000), column('text', 1500), column('after', 2000)];
  return Buffer.from(parquetWriteBuffer({ columnData, rowGroupSize: Math.ceil(rows / 3) }));
}

/** Bytes of a column in a file. */
function columnBytes(file: Buffer, name: string): number {
  const { row_groups } = parquetMetadata(new Uint8Array(file).buffer);
  const chunks = row_groups.flatMap(({ columns }) =>
    columns.filter((one) => one.meta_data!.path_in_schema[0] === name),
  );
  return chunks.reduce((sum, { meta_data }) => sum + Number(meta_data!.total_compressed_size), 0);
}

test('of a Parquet file, only the text column and the footer are requested', async (t) => {
  const file = wideTable(600);
  const { read, hub } = await served(t, { 'o/wide': { files: files({ 'data/train.parquet': file }) } });
  assert.equal((await read('hf:o/wide')).length, 600);
  const asked = hub.bytes.reduce((sum, { from, to }) => sum + to + 1 - from, 0);
  const column = columnBytes(file, 'text');
  assert.ok(asked <= 1.2 * column, `${asked} bytes asked for, and the column has ${column}`);
});

test('interrupted answers, overloaded servers and expired addresses are retried', async (t) => {
  const file = wideTable(400);
  const { read, hub } = await served(t, { 'o/wide': { files: files({ 'train.parquet': file }) } });
  const whole = await read('hf:o/wide');
  const faults: DatasetFaults[] = [
    { cuts: { times: 5, after: 10_000 } },
    { fails: { times: 2, status: 503 } },
    { expires: 2 },
  ];
  for (const fault of faults) {
    hub.faults = fault;
    assert.deepEqual(await read('hf:o/wide'), whole, JSON.stringify(fault));
  }
  const { length } = hub.authorizations.hub;
  hub.faults = {};
  await read('hf:o/wide');
  assert.ok(hub.authorizations.hub.length - length <= 3, 'the hub is asked again and again for the same address');
});

test('storage that lies about ranges and sizes is refused', async (t) => {
  const file = wideTable(100);
  const entries = { 'train.parquet': file, 'train-2.jsonl': lines('a', 'b'.repeat(300_000)) };
  const { read, hub } = await served(t, { 'o/wide': { files: files(entries) } });
  const lies: DatasetFaults[] = [
    ...(['ignored', 'shifted', 'too long'] as const).map((ranges) => ({ ranges })),
    { total: file.length + 1 },
  ];
  for (const lie of lies) {
    for (const name of Object.keys(entries)) {
      hub.faults = lie;
      await refuses(() => read(`hf:o/wide/${name}`), 'corpus/wrong-answer', name);
    }
  }
  hub.faults = { fails: { times: 100, status: 503 } };
  await refuses(() => read('hf:o/wide/*.jsonl'), ['hub/refused-status', 'corpus/stream-broke-off'], '503');
});

test('a listing of other sizes than the files have is refused', async (t) => {
  const { read, hub } = await served(t, { 'o/a': { files: files({ 'a.jsonl': lines('a', 'b') }) } });
  hub.faults = { sizeLie: 5 };
  await refuses(() => read('hf:o/a'), 'corpus/wrong-answer', 'a.jsonl');
});

test('the token goes to the hub alone; a gated data set names its page', async (t) => {
  const gated = { 'o/gated': { files: files({ 'train.jsonl': lines('secret') }), gated: true as const } };
  const { read, hub } = await served(t, gated, TOKEN);
  assert.deepEqual(texts(await read('hf:o/gated')), ['secret']);
  assert.ok(hub.authorizations.hub.includes(`Bearer ${TOKEN}`));
  assert.ok(hub.authorizations.storage.length > 0 && hub.authorizations.storage.every((one) => one === undefined));
  delete process.env.HF_TOKEN;
  const stranger = { ...(await served(t, gated)).settings };
  await refuses(() => hubCorpus({ corpus: 'hf:o/gated' }, stranger), 'hub/not-open', '/datasets/o/gated', 'HF_TOKEN');
});

test('configurations and splits are those of the card', async (t) => {
  const card = {
    configs: [
      {
        config_name: 'en',
        data_files: [
          { split: 'train', path: 'en/*.jsonl' },
          { split: 'test', path: ['en/held/**'] },
        ],
      },
      { config_name: 'de', data_dir: 'de', default: true },
    ],
  };
  const entries = {
    'en/b.jsonl': lines('b'),
    'en/a.jsonl': lines('a'),
    'en/held/out/c.jsonl': lines('c'),
    'de/train-0.jsonl.gz': gzipSync(lines('d')),
    'de/test-0.jsonl': lines('e'),
    'README.md': Buffer.from('about'),
    'dataset_infos.json': Buffer.from('{}'),
  };
  const { read } = await served(t, { 'o/two': { files: files(entries), card } });
  assert.deepEqual(texts(await read('hf:o/two/en')).sort(), ['a', 'b']);
  assert.deepEqual(texts(await read('hf:o/two/en:test')), ['c']);
  assert.deepEqual(texts(await read('hf:o/two')), ['d']);
  assert.deepEqual(texts(await read(`hf:o/two@${COMMITS.main}:test`)), ['e']);
  assert.deepEqual(texts(await read('hf:o/two/{en,de}/*.jsonl')).sort(), ['a', 'b', 'e']);
  assert.deepEqual(texts(await read('hf:o/two/en/held')), ['c']);
  await refuses(() => read('hf:o/two/en:validation'), 'corpus/no-split', 'validation', 'train, test');
  await refuses(() => read('hf:o/two/fr'), 'corpus/which-configuration', 'fr');
  await refuses(() => read('hf:o/two/en/*.csv'), 'corpus/no-such-file', 'en/a.jsonl');
  await refuses(() => read('hf:o/two/en/a.jsonl:train'), 'corpus/path-and-split');
});

test('without a card, splits are recognised by names; if none is, all files are train', async (t) => {
  const { read } = await served(t, {
    'o/named': { files: files({ 'data/train-00000-of-2.jsonl': lines('a'), 'data/validation-0.jsonl': lines('b') }) },
    'o/plain': { files: files({ 'x.jsonl': lines('x'), 'constraint.jsonl': lines('y') }) },
  });
  assert.deepEqual(texts(await read('hf:o/named')), ['a']);
  assert.deepEqual(texts(await read('hf:o/named:validation')), ['b']);
  assert.deepEqual(texts(await read('hf:o/plain')).sort(), ['x', 'y']);
});

test('if no file can be read, the hub’s conversion to Parquet is used, with a message', async (t) => {
  const [tiny] = [...fixtures('tiny.parquet').values()];
  const converted = files({ 'default/train/0000.parquet': tiny!, 'default/partial-test/0000.parquet': tiny! });
  const { read, settings } = await served(t, {
    'o/script': { files: files({ 'data.xml': Buffer.from('<a>') }), converted },
    'o/none': { files: files({ 'data.xml': Buffer.from('<a>') }) },
  });
  assert.deepEqual(texts(await read('hf:o/script')), await local('test/corpus/fixtures/tiny.parquet'));
  assert.equal((await read('hf:o/script:test', 'title')).length, 5);
  const { remarks } = await hubCorpus({ corpus: 'hf:o/script' }, settings);
  assert.match(remarks!.join(' '), /refs\/convert\/parquet/);
  await refuses(() => read('hf:o/none'), 'corpus/nothing-to-read', 'data.xml');
  await refuses(() => read('hf:o/script:train', 'body'), 'corpus/no-text-column', '"body"', 'title', '--text-field');
});

test('a seed sets the order of files, and every seed has all of them', async (t) => {
  const entries = Object.fromEntries([...'abcdefgh'].map((name) => [`${name}.jsonl`, lines(name)]));
  const { read, hub } = await served(t, { 'o/eight': { files: files(entries) } });
  const orders = [];
  for (const seed of [0, 1, 0]) orders.push(texts(await read('hf:o/eight', 'text', seed)).join(''));
  assert.equal(orders[0], orders[2]);
  assert.notEqual(orders[0], orders[1]);
  for (const order of orders) assert.equal([...order].sort().join(''), 'abcdefgh');
  assert.equal(hub.apiRequests, 4, 'a listing serves the whole command');
});

test('what does not exist is refused by name, and offline before any request', async (t) => {
  const { read, hub } = await served(t, { 'o/a': { files: files({ 'a.jsonl': lines('a') }) } });
  await refuses(() => read('hf:o/b'), 'hub/not-open', 'data set o/b');
  await refuses(() => read('hf:o/a@v9'), 'hub/no-revision', 'v9', '@REVISION');
  const { apiRequests } = hub;
  const offline = { corpus: 'hf:o/a', textField: 'text', offline: true };
  await refuses(() => corpusFiles(offline), 'corpus/offline', '--offline');
  process.env.HF_HUB_OFFLINE = '1';
  await refuses(() => corpusFiles({ ...offline, offline: false }), 'corpus/offline', 'HF_HUB_OFFLINE');
  assert.equal(hub.apiRequests, apiRequests);
  for (const wrong of ['hf:', 'hf:imdb', 'hf:a/b/../c', 'hf:a//b', 'hf:a/b@', 'hf:a/b/c//d', 'hf:a/b@..']) {
    await refusesUsage(() => read(wrong), wrong === 'hf:a/b@..' ? 'hub/wrong-revision' : 'corpus/not-a-hub-reference');
  }
});

/** A number as in Parquet's footers: zigzag, seven bits per byte. */
function zigzag(value: number): Buffer {
  const bytes = [];
  let rest = 2 * value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

test('row groups that overlap, or lie outside of the file, are refused', async (t) => {
  const whole = wideTable(100);
  const { row_groups } = parquetMetadata(new Uint8Array(whole).buffer);
  const offsets = row_groups.map(({ columns }) => Number(columns[1]!.meta_data!.data_page_offset));
  const [, second, third] = offsets as [number, number, number];
  for (const [replacement, reason] of [
    [second + 10, 'overlap'],
    [1_000_000, 'outside'],
  ] as const) {
    const file = Buffer.from(whole);
    const [from, to] = [zigzag(third), zigzag(replacement)];
    assert.equal(from.length, to.length);
    const at = file.lastIndexOf(from);
    to.copy(file, at);
    const { read } = await served(t, { 'o/bad': { files: files({ 'bad.parquet': file }) } });
    await refuses(() => read('hf:o/bad'), 'corpus/broken-parquet', reason);
  }
});
