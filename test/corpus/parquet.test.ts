import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { Generator } from '../../src/random/generator.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { wholeDocuments } from './whole-documents.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const FILE = 'test/corpus/fixtures/tiny.parquet';

async function read(path: string, textField: string) {
  const documents = [];
  for await (const document of wholeDocuments(path, textField)) documents.push(document);
  return documents;
}

test('.parquet has one document per row, over all row groups, with file and row as its source', async () => {
  const texts = ['First.', 'Zweites, mit Ümlaut: λ → 😀', '', 'line\nline', 'last'];
  assert.deepEqual(
    await read(FILE, 'text'),
    texts.map((text, i) => ({ text, source: `${FILE}, row ${i}` })),
  );
});

test('the column of the text can be chosen', async () => {
  assert.deepEqual(
    (await read(FILE, 'title')).map(({ text }) => text),
    [...'abcde'],
  );
});

test('a missing column is refused, listing those there are', () =>
  refuses(() => read(FILE, 'body'), 'corpus/no-text-column', FILE, '"body"', '--text-field'));

test('a column of numbers is refused by its type', () =>
  refuses(() => read(FILE, 'year'), 'corpus/no-text-column', FILE, '"year"', 'INT64', '--text-field'));

test('a row without a text is skipped, and counted', async () => {
  const said: string[] = [];
  const documents = [];
  for await (const document of wholeDocuments(FILE, 'summary', { say: (line) => said.push(line) })) {
    documents.push(document);
  }
  assert.deepEqual(
    documents,
    ['1', '2', '3', '4'].map((text, i) => ({ text, source: `${FILE}, row ${i}` })),
  );
  assert.equal(said.length, 1);
  assert.match(said[0]!, /1 document .*"summary"/);
});

test('a truncated file, and one that is not Parquet, are refused by name', async (t) => {
  const path = join(temporaryDirectory(t), 'a.parquet');
  const whole = readFileSync(FILE);
  for (const bytes of [whole.subarray(0, whole.length - 100), Buffer.from('PAR1 but nothing else'), Buffer.alloc(0)]) {
    writeFileSync(path, bytes);
    await refuses(() => read(path, 'text'), 'corpus/broken-parquet', path);
  }
});

test('every codec, page version and encoding of strings has the same rows', async () => {
  const forms = readdirSync('test/corpus/fixtures').filter((name) => name.startsWith('form-'));
  assert.equal(forms.length, 9);
  const eight = ['First.', 'Zweites, mit Ümlaut: λ → 😀', null, '', 'First.', 'line\nline '.repeat(60), null, 'last'];
  const wanted = [...eight, ...eight, ...eight].flatMap((text, row) => (text === null ? [] : [{ text, row }]));
  for (const form of forms) {
    const path = `test/corpus/fixtures/${form}`;
    const said: string[] = [];
    const found = [];
    for await (const document of wholeDocuments(path, 'text', { say: (line) => said.push(line) })) found.push(document);
    assert.deepEqual(
      found,
      wanted.map(({ text, row }) => ({ text, source: `${path}, row ${row}` })),
      form,
    );
    assert.equal(said.length, 1);
    assert.match(said[0]!, /6 documents/, form);
  }
});

test('a string that is not UTF-8 is refused with row and byte, and what it looks like', () => {
  const path = 'test/corpus/fixtures/latin-1.parquet';
  return refuses(() => read(path, 'text'), 'corpus/wrong-encoding', `${path}, row 1`, 'byte 3', 'Latin-1');
});

test('a change of any byte gives rows or a refusal', onDemand, async (t) => {
  for (const form of ['form-zstd', 'form-delta', 'form-lz4']) {
    const whole = readFileSync(`test/corpus/fixtures/${form}.parquet`);
    const path = join(temporaryDirectory(t), 'a.parquet');
    const random = new Generator(5);
    for (let i = 0; i < 25; i++) {
      const bytes = Buffer.from(whole);
      bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
      writeFileSync(path, bytes);
      await read(path, 'text').catch((error) => assert.ok(error instanceof Refusal, String(error)));
    }
  }
});

test('two columns of the requested name are refused', async () => {
  const path = 'test/corpus/fixtures/two-columns.parquet';
  await refuses(() => read(path, 'text'), 'corpus/no-text-column', path, '2 columns');
});
