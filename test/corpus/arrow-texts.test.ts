import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Table, tableToIPC, Utf8, vectorFromArray } from 'apache-arrow';
import { corpusFiles } from '../../src/corpus/documents.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { wholeDocuments } from './whole-documents.js';

const directory = temporaryDirectory();

/** An Arrow file of texts, in which some bytes are replaced. */
function file(texts: readonly (string | null)[], ...replaced: (readonly [Buffer, Buffer])[]): string {
  const bytes = Buffer.from(tableToIPC(new Table({ text: vectorFromArray(texts, new Utf8()) }), 'stream'));
  for (const [from, to] of replaced) {
    const at = bytes.indexOf(from);
    assert.ok(at >= 0 && from.length === to.length);
    to.copy(bytes, at);
  }
  const path = join(directory, 'texts.arrow');
  writeFileSync(path, bytes);
  return path;
}

async function read(path: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { text } of wholeDocuments(path, 'text')) found.push(text);
  return found;
}

test('Arrow texts are read unchanged, a leading U+FEFF included', async () => {
  const texts = ['one', '\ufeffmarked', '', 'zwölf 😀\0'];
  assert.deepEqual(await read(file([texts[0]!, null, ...texts.slice(1)])), texts);
});

test('bytes that are not UTF-8 are refused with their row', async () => {
  const latin = [Buffer.from('caf+ au lait'), Buffer.from('caf\xe9 au lait', 'latin1')] as const;
  const path = file(['fine', 'caf+ au lait'], latin);
  await refuses(() => read(path), 'corpus/wrong-encoding', `${path}, row 1`, 'byte 3', 'Latin-1');
  // Half a character that the next row ends.
  const halves = file(['ab', 'cd'], [Buffer.from('abcd'), Buffer.from('a\u{e9}d')]);
  await refuses(() => read(halves), 'corpus/wrong-encoding', 'row 0', 'byte 1');
});

test('offsets that contradict the bytes are refused', async () => {
  const offsets = (...numbers: number[]) => Buffer.from(Int32Array.from(numbers).buffer);
  for (const wrong of [offsets(0, 5, 70_000), offsets(0, 9, 3), offsets(-4, 5, 9)]) {
    const path = file(['first', 'next'], [offsets(0, 5, 9), wrong]);
    await refuses(() => read(path), 'corpus/broken-arrow', 'beyond their bytes');
  }
});

test('--encoding is refused for formats without one', async () => {
  const settings = { textField: 'text', encoding: 'latin-1', idsDtype: 'uint16' } as const;
  const arrow = file(['one']);
  await refuses(() => corpusFiles({ ...settings, corpus: arrow }), 'corpus/encoding-of-parquet', arrow, 'Arrow');
  const array = 'test/corpus/fixtures/sources/even.npy';
  await refuses(() => corpusFiles({ ...settings, corpus: array }), 'corpus/encoding-of-parquet', array, '--encoding');
});
