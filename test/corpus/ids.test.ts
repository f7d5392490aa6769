import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type Document, packContexts } from '../../src/corpus/contexts.js';
import { chosenDocuments } from '../../src/corpus/document-choice.js';
import { corpusFiles, openCorpus, readDocuments } from '../../src/corpus/documents.js';
import { withinVocabulary } from '../../src/corpus/ids/ids.js';
import { shuffled } from '../../src/corpus/shuffled.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { Generator } from '../../src/random/generator.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { served } from './served-datasets.js';
import { wholeDocument } from './whole-documents.js';

const FIXTURES = 'test/corpus/fixtures/sources';
const { ragged, even, texts } = JSON.parse(readFileSync(`${FIXTURES}/ids.json`, 'utf8')) as {
  readonly ragged: number[][];
  readonly even: number[][];
  readonly texts: string[];
};
const directory = temporaryDirectory();

type Reading = Parameters<typeof readDocuments>[2];

async function idsOf(documents: AsyncIterable<Document>): Promise<number[][]> {
  const found: number[][] = [];
  for await (const { ids } of documents) {
    const row: number[] = [];
    for await (const part of ids!) for (const id of part) row.push(id);
    found.push(row);
  }
  return found;
}

const read = (path: string, reading?: Reading) => idsOf(readDocuments(path, 'text', reading));

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

test('token ids are those that datasets reads: saved data sets, Parquet, JSON Lines, Arrow files', async () => {
  for (const name of ['saved-ids', 'ids.parquet', 'ids.jsonl', 'ids.arrow']) {
    assert.deepEqual(await read(`${FIXTURES}/${name}`), ragged, name);
    assert.deepEqual(await read(`${FIXTURES}/${name}`, { idsField: 'input_ids' }), ragged, name);
  }
  assert.deepEqual(await read(`${FIXTURES}/saved-fixed`), even);
  const found = [];
  for await (const document of readDocuments(`${FIXTURES}/saved-texts`, 'text')) {
    found.push((await wholeDocument(document)).text);
  }
  assert.deepEqual(found, texts);
});

test('arrays have one document per row, or are a single document', async () => {
  assert.deepEqual(await read(`${FIXTURES}/even.npy`), even);
  assert.deepEqual(await read(`${FIXTURES}/wide.npy`), even);
  assert.deepEqual(await read(file('even.npy.gz', gzipSync(readFileSync(`${FIXTURES}/even.npy`)))), even);
  assert.deepEqual(await read(`${FIXTURES}/even.bin`, { idsDtype: 'uint16' }), [even.flat()]);
  const wide = file('wide.bin', new Uint8Array(Uint32Array.from([70_000, 1]).buffer));
  assert.deepEqual(await read(wide, { idsDtype: 'uint32' }), [[70_000, 1]]);
});

test('saved data sets and arrays of the hub are read where they lie', async (t) => {
  const names = ['even.npy', 'ids.parquet', 'saved-ids/data-00000-of-00002.arrow'];
  const files = new Map(names.map((name) => [name, readFileSync(`${FIXTURES}/${name}`)]));
  const { settings } = await served(t, { 'o/ids': { files } });
  assert.ok(settings.endpoint);
  assert.deepEqual(await read('hf:o/ids/even.npy'), even);
  assert.deepEqual(await read('hf:o/ids/ids.parquet'), ragged);
  assert.deepEqual(await read('hf:o/ids/saved-ids/data-00000-of-00002.arrow'), ragged.slice(0, 12));
});

test('of a directory, only files that the saved data set lists are read, and several splits are refused', async (t) => {
  const root = join(temporaryDirectory(t), 'set');
  cpSync(`${FIXTURES}/saved-ids`, root, { recursive: true });
  writeFileSync(join(root, 'cache-0123.arrow'), readFileSync(`${FIXTURES}/ids.arrow`));
  writeFileSync(join(root, 'weights.bin'), 'x');
  const said: string[] = [];
  const settings = { corpus: [root], textField: 'text', model: 'runs/pythia-70m' };
  const { files } = await openCorpus(settings, { say: (line) => said.push(line) });
  assert.deepEqual(
    files.map(({ name }) => name),
    ['data-00000-of-00002.arrow', 'data-00001-of-00002.arrow'],
  );
  assert.ok(said.some((line) => line.includes('google/gemma-2-2b') && line.includes('pythia-70m')));
  assert.ok(
    said.some((line) => line.includes('cache-0123.arrow')) && said.some((line) => line.includes('weights.bin')),
  );
  const same: string[] = [];
  await openCorpus({ ...settings, model: 'models/gemma-2-2b' }, { say: (line) => same.push(line) });
  assert.ok(!same.some((line) => line.includes('tokenizer')));
  writeFileSync(join(root, 'dataset_dict.json'), '{"splits":["train","test"]}');
  await refuses(() => openCorpus(settings, { say() {} }), 'corpus/several-splits', 'train, test');
});

test('text takes precedence over token ids, and flags override that', async () => {
  const path = file('both.jsonl', `${JSON.stringify({ text: 'words', input_ids: [1, 2], other: [3] })}\n`);
  for await (const document of readDocuments(path, 'text')) {
    assert.equal((await wholeDocument(document)).text, 'words');
  }
  assert.deepEqual(await read(path, { idsField: 'input_ids' }), [[1, 2]]);
  assert.deepEqual(await read(path, { idsField: 'other' }), [[3]]);
  await refuses(() => read(path, { idsField: 'none' }), 'corpus/no-text', '--ids-field');
  await refuses(() => read(`${FIXTURES}/ids.parquet`, { idsField: 'none' }), 'corpus/no-text-column', '--ids-field');
  await refuses(() => read(`${FIXTURES}/ids.arrow`, { idsField: 'none' }), 'corpus/no-text-column', '--ids-field');
  await refuses(() => read(`${FIXTURES}/table.csv`, { idsField: 'id' }), 'corpus/ids-of-text');
  const settings = { corpus: [path], textField: 'text', idsField: 'other', chatField: 'messages' };
  await refusesUsage(() => openCorpus(settings, { say() {} }), 'corpus/ids-and-chats');
});

test('what is not a token id is refused with its row', async () => {
  for (const value of ['[1,-100]', '[1.5]', '["a"]', '[null]', '[3000000000]', '7', '{"a":1}']) {
    const path = file('wrong.jsonl', `{"input_ids":[1]}\n{"input_ids":${value}}\n`);
    await refuses(() => read(path), 'corpus/no-token-id', `${path}:2`);
  }
  const within = withinVocabulary(readDocuments(`${FIXTURES}/ids.parquet`, 'text'), 200);
  const row = ragged.findIndex((ids) => ids.some((id) => id >= 200));
  await refuses(() => idsOf(within), 'corpus/token-outside-vocabulary', `row ${row}`, '200');
});

test('a line of ids that is too long to hold in memory is refused as such', async () => {
  const path = file('long.jsonl', `{"input_ids":[1],"notes":"${'x'.repeat(2 ** 24)}"}\n`);
  await refuses(() => read(path, { idsField: 'input_ids' }), 'corpus/ids-too-long', `${path}:1`, 'token ids');
});

test('rows without a text before the first ids, and a first line of a megabyte, are rows of ids', async () => {
  const long = Array.from({ length: 300_000 }, (_, i) => i % 4096);
  const rows = [{ input_ids: long }, { input_ids: null }, { input_ids: [3] }];
  const path = file('first.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  assert.deepEqual(await read(path), [long, [3]]);
  const nulls = file('nulls.jsonl', '{"text":null,"input_ids":[1]}\n{"input_ids":[2]}\n');
  assert.deepEqual(await read(nulls), [[1], [2]]);
});

test('a table in a data set of the hub is skipped where token ids are read', async (t) => {
  const files = new Map(['ids.jsonl', 'table.csv'].map((name) => [name, readFileSync(`${FIXTURES}/${name}`)]));
  await served(t, { 'o/ids': { files } });
  const found = await corpusFiles({ corpus: 'hf:o/ids', textField: 'text', idsField: 'input_ids' });
  assert.equal(found.files.length, 1);
  assert.match(found.skipped[0]!.name, /table\.csv$/);
});

test('damaged and unknown files are refused by name', async () => {
  const arrow = readFileSync(`${FIXTURES}/ids.arrow`);
  await refuses(() => read(`${FIXTURES}/packed.arrow`), 'corpus/broken-arrow', 'compress');
  await refuses(() => read(file('cut.arrow', arrow.subarray(0, 1200))), 'corpus/broken-arrow', 'cut.arrow');
  await refuses(() => read(file('other.arrow', 'no Arrow at all, but text')), 'corpus/broken-arrow');
  await refuses(() => read(file('empty.arrow', '')), 'corpus/broken-arrow');
  const npy = readFileSync(`${FIXTURES}/even.npy`);
  for (const bytes of [npy.subarray(0, 60), npy.subarray(0, 500), Buffer.concat([npy, npy]), Buffer.from('text')]) {
    await refuses(() => read(file('broken.npy', bytes)), 'corpus/not-an-array', 'broken.npy');
  }
  const floats = Buffer.from(npy);
  floats.write('<f2', floats.indexOf('<u2'), 'latin1');
  await refuses(() => read(file('floats.npy', floats)), 'corpus/not-an-array', '<f2');
  await refuses(() => read(`${FIXTURES}/even.npy`, { idsDtype: 'uint32' }), 'corpus/not-an-array');
  await refuses(() => read(`${FIXTURES}/even.bin`), 'corpus/ids-dtype', '--ids-dtype');
  await refuses(() => read(file('odd.bin', 'abc'), { idsDtype: 'uint16' }), 'corpus/not-an-array');
});

test('contexts of rows that begin with BOS are these rows, and BOS is put before rows without it', async () => {
  const tokenizer = await openTokenizer('assets/tiny-gemma', { bosTokenId: 2 });
  const contextsOf = async (rows: readonly (readonly number[])[]) => {
    const path = file('rows.jsonl', rows.map((ids) => `${JSON.stringify({ input_ids: ids })}\n`).join(''));
    const written = { documents: 0, tokens: new Map<number, number>() };
    const found: number[][] = [];
    for await (const { tokens } of packContexts(readDocuments(path, 'text'), tokenizer, 4, written)) {
      found.push([...tokens]);
    }
    assert.deepEqual([written.documents, written.tokens.size], [0, 0], 'nothing is said of tokens that are given');
    return found;
  };
  const rows = [
    [2, 10, 2, 12],
    [2, 20, 21, 22],
  ];
  assert.deepEqual(await contextsOf(rows), rows);
  assert.deepEqual(await contextsOf([[10, 11, 12, 13, 14]]), [[2, 10, 11, 12]]);
});

test('rows of token ids are shuffled and held out as texts are', async () => {
  const documents = () => readDocuments(`${FIXTURES}/ids.parquet`, 'text');
  const mixed = await idsOf(shuffled(documents(), 8, new Generator(3)));
  assert.notDeepEqual(mixed, ragged);
  assert.deepEqual([...mixed].sort(), [...ragged].sort());
  const side = (heldOut: boolean) =>
    idsOf(chosenDocuments(documents(), { holdout: '30%', ...(heldOut && { held_out: true as const }) }));
  const [out, kept] = [await side(true), await side(false)];
  assert.ok(out.length > 0 && kept.length > 0);
  assert.deepEqual([...out, ...kept].sort(), [...ragged].sort());
});
