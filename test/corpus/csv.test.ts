import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { corpusFiles, readDocuments } from '../../src/corpus/documents.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { served } from './served-datasets.js';
import { wholeDocuments } from './whole-documents.js';

const FIXTURES = 'test/corpus/fixtures/sources';
const WRITTEN = JSON.parse(readFileSync(`${FIXTURES}/table.json`, 'utf8')) as string[];
const directory = temporaryDirectory();

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

async function texts(path: string, textField = 'text'): Promise<string[]> {
  const found: string[] = [];
  for await (const { text } of wholeDocuments(path, textField)) found.push(text);
  return found;
}

test('tables that pandas wrote have its texts: quotes, line ends, a byte order mark, packed or not', async () => {
  const packed = file('table.csv.gz', gzipSync(readFileSync(`${FIXTURES}/table.csv`)));
  for (const path of [`${FIXTURES}/table.csv`, `${FIXTURES}/table.tsv`, `${FIXTURES}/table.csv.zst`, packed]) {
    assert.deepEqual(await texts(path, 'body'), WRITTEN, path);
    assert.deepEqual(await texts(path, 'after "it"'), [...WRITTEN].reverse(), path);
  }
});

test('tables of the hub are read where they lie', async (t) => {
  const files = new Map(['table.csv', 'table.csv.zst'].map((name) => [name, readFileSync(`${FIXTURES}/${name}`)]));
  const { read } = await served(t, { 'o/tables': { files } });
  for (const name of files.keys()) {
    const found = await read(`hf:o/tables/${name}`, 'body');
    assert.deepEqual(
      found.map(({ text }) => text),
      WRITTEN,
      name,
    );
  }
});

test('a row names the line that it begins on, whatever lines its fields hold', async () => {
  const path = file('lines.csv', 'id,text\r\n1,one\n\n2,"two\nand\r\nmore"\r3,three');
  const found = [];
  for await (const { text, source } of wholeDocuments(path, 'text')) found.push([text, source]);
  assert.deepEqual(found, [
    ['one', `${path}:2`],
    ['two\nand\r\nmore', `${path}:4`],
    ['three', `${path}:7`],
  ]);
});

test('a row with more or fewer fields than the header is refused with its line, after those before it', async () => {
  for (const row of ['2', '2,two,too']) {
    const path = file('ragged.csv', `id,text\n1,"a\nb"\n${row}\n`);
    const found: string[] = [];
    const read = async () => {
      for await (const { text } of wholeDocuments(path, 'text')) found.push(text);
    };
    await refuses(read, 'corpus/ragged-row', `${path}:4`);
    assert.deepEqual(found, ['a\nb']);
  }
});

test('quotes in the wrong place are refused with the line, after the rows before it', async () => {
  for (const row of ['1,"one" more', '1,on"e"', '1,"never\nclosed', `1,"${'never closed '.repeat(2 ** 21)}`]) {
    const path = file('quotes.csv', `id,text\n0,"zero\r\n"\n${row}\n`);
    const found: string[] = [];
    const read = async () => {
      for await (const { text } of wholeDocuments(path, 'text')) found.push(text);
    };
    await refuses(read, 'corpus/wrong-quote', `${path}:4 `);
    assert.deepEqual(found, ['zero\r\n']);
  }
});

test('a table without the column, or with it twice, is refused', async () => {
  await refuses(() => texts(file('other.csv', 'id,body\n1,one\n')), 'corpus/no-text-column', 'id, body');
  await refuses(() => texts(file('empty.csv', '')), 'corpus/no-text-column');
  await refuses(() => texts(file('twice.csv', 'text,text\n1,one\n')), 'corpus/text-twice');
  await refuses(() => texts(file('latin.csv', Buffer.from('text\ncaf\xe9\n', 'latin1'))), 'corpus/wrong-encoding');
});

test('tables with other columns are skipped in a directory, and stopping early leaves nothing open', async (t) => {
  const root = temporaryDirectory(t);
  writeFileSync(join(root, 'about.csv'), 'name,value\na,1\n');
  writeFileSync(join(root, 'texts.tsv'), `id\ttext\n${'1\tone\n'.repeat(50_000)}`);
  const { files, skipped } = await corpusFiles({ corpus: root, textField: 'text' });
  assert.deepEqual(
    files.map(({ name }) => name),
    ['texts.tsv'],
  );
  assert.deepEqual(
    skipped.map(({ name }) => name),
    ['about.csv'],
  );
  for await (const { source } of readDocuments(root, 'text')) {
    assert.equal(source, `${join(root, 'texts.tsv')}:2`);
    break;
  }
});
