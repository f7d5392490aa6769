import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { wholeDocuments } from './whole-documents.js';

const FILE = 'test/corpus/fixtures/tiny.parquet';

async function read(path: string, textField: string) {
  const documents = [];
  for await (const document of wholeDocuments(path, textField)) documents.push(document);
  return documents;
}

test('.parquet has one document a row, over all row groups, with file and row as its source', async () => {
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
  refuses(() => read(FILE, 'body'), FILE, '"body"', 'title, text, year, summary', '--text-field'));

test('a column of numbers is refused at its first row', () =>
  refuses(() => read(FILE, 'year'), `${FILE}, row 0`, '"year"'));

test('a missing text is refused with its row', () =>
  refuses(() => read(FILE, 'summary'), `${FILE}, row 4`, '"summary"'));

test('a truncated file, and one that is no Parquet, are refused by name', async (t) => {
  const path = join(temporaryDirectory(t), 'a.parquet');
  const whole = readFileSync(FILE);
  for (const bytes of [whole.subarray(0, whole.length - 100), Buffer.from('PAR1 but nothing else'), Buffer.alloc(0)]) {
    writeFileSync(path, bytes);
    await refuses(() => read(path, 'text'), path);
  }
});
