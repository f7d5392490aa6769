import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { corpusFiles } from '../../src/corpus/documents.js';
import { Generator } from '../../src/random/generator.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { type WholeDocument, wholeDocuments } from './whole-documents.js';

function file(t: TestContext, name: string, content: string | Uint8Array): string {
  const path = join(temporaryDirectory(t), name);
  writeFileSync(path, content);
  return path;
}

async function read(path: string, textField = 'text'): Promise<WholeDocument[]> {
  const documents: WholeDocument[] = [];
  for await (const document of wholeDocuments(path, textField)) documents.push(document);
  return documents;
}
const textsOf = async (path: string, textField?: string) => (await read(path, textField)).map(({ text }) => text);
const jsonl = (texts: readonly string[]) => texts.map((text) => `${JSON.stringify({ id: 1, text })}\n`).join('');

/** Texts of all sizes, some far longer than a read from disk, with characters of one to four bytes. */
function randomTexts(seed: number): string[] {
  const random = new Generator(seed);
  const letters = ['a', ' ', '\n', '\r\n', '"', '\\', 'é', 'λ', '…', '😀', '\u2028', '\u2029', '\u0085', '\t'];
  return Array.from({ length: 40 }, (_, i) =>
    Array.from({ length: i % 10 === 9 ? 60_000 : random.below(50) }, () => letters[random.below(letters.length)]).join(
      '',
    ),
  );
}

test('.jsonl has one document per line, with file and line as its source', async (t) => {
  const path = file(t, 'a.jsonl', '{"text":"one"}\n{"id":2,"text":"two"}\n');
  assert.deepEqual(await read(path), [
    { text: 'one', source: `${path}:1` },
    { text: 'two', source: `${path}:2` },
  ]);
});

test('any text survives .jsonl, packed or not', async (t) => {
  const texts = randomTexts(1);
  assert.deepEqual(await textsOf(file(t, 'a.jsonl', jsonl(texts))), texts);
  assert.deepEqual(await textsOf(file(t, 'a.jsonl.gz', gzipSync(jsonl(texts)))), texts);
});

test('a .gz file of several parts, as `cat` makes them, is read to its end', async (t) => {
  const packed = Buffer.concat([gzipSync(jsonl(['one', 'two'])), gzipSync(jsonl(['three']))]);
  assert.deepEqual(await textsOf(file(t, 'a.jsonl.gz', packed)), ['one', 'two', 'three']);
});

test('.jsonl may lack its last newline, have empty lines, or lines that end in CR LF', async (t) => {
  const path = file(t, 'a.jsonl', '{"text":"one"}\r\n\n   \n{"text":"four"}');
  assert.deepEqual(await read(path), [
    { text: 'one', source: `${path}:1` },
    { text: 'four', source: `${path}:4` },
  ]);
});

test('the key of the text can be chosen', async (t) => {
  const path = file(t, 'a.jsonl', '{"text":"no","content":"yes"}\n');
  assert.deepEqual(await textsOf(path, 'content'), ['yes']);
});

test('a slow reader misses no line', async (t) => {
  const texts = Array.from({ length: 3000 }, (_, i) => `document ${i} ${'x'.repeat(60)}`);
  const found: string[] = [];
  for await (const { text } of wholeDocuments(file(t, 'a.jsonl', jsonl(texts)), 'text')) {
    found.push(text);
    if (found.length % 700 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.deepEqual(found, texts);
});

test('.txt is one document, packed or not', async (t) => {
  const [text] = randomTexts(2).slice(9);
  const plain = file(t, 'a.txt', text!);
  assert.deepEqual(await read(plain), [{ text, source: plain }]);
  assert.deepEqual(await textsOf(file(t, 'a.txt.gz', gzipSync(text!))), [text]);
  assert.deepEqual(await textsOf(file(t, 'empty.txt', '')), ['']);
});

test('a directory is read in the order of names, other files left out', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'b.txt'), 'third');
  writeFileSync(join(directory, 'a.jsonl'), jsonl(['first', 'second']));
  writeFileSync(join(directory, 'c.jsonl.gz'), gzipSync(jsonl(['fourth'])));
  writeFileSync(join(directory, 'README.md'), 'not this');
  writeFileSync(join(directory, 'a.json'), 'nor this');
  assert.deepEqual(
    (await corpusFiles({ corpus: directory, textField: 'text' })).files.map(({ name }) => name),
    ['a.jsonl', 'b.txt', 'c.jsonl.gz'],
  );
  assert.deepEqual(await textsOf(directory), ['first', 'second', 'third', 'fourth']);
});

test('a missing path is refused by name', async (t) => {
  const path = join(temporaryDirectory(t), 'gone.jsonl');
  await refuses(() => read(path), 'corpus/none', `corpus ${path} does not exist`);
});

test('a file with another ending is refused, naming those that are read', async (t) => {
  const path = file(t, 'corpus.xml', 'a,b');
  await refuses(() => read(path), 'corpus/unknown-ending', path, '.jsonl', '.gz', '.zst', '.parquet');
});

test('a directory without a corpus file is refused by name', async (t) => {
  const directory = temporaryDirectory(t);
  await refuses(() => read(directory), 'corpus/nothing-to-read', directory);
  writeFileSync(join(directory, 'README.md'), '');
  await refuses(() => read(directory), 'corpus/nothing-to-read', directory, 'README.md');
});

test('a directory that is named like a corpus file is a directory', async (t) => {
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, 'inner.txt'));
  await refuses(() => read(directory), 'corpus/nothing-to-read', directory);
  writeFileSync(join(directory, 'inner.txt', 'a.txt'), 'inner');
  assert.deepEqual(await textsOf(directory), ['inner']);
});

test('a line that is not JSON is refused with file and line, after the documents before it', async (t) => {
  const path = file(t, 'a.jsonl', '{"text":"one"}\n\n{"text":"thr\n{"text":"four"}\n');
  const found: string[] = [];
  await refuses(
    async () => {
      for await (const { text } of wholeDocuments(path, 'text')) found.push(text);
    },
    'corpus/not-json',
    `${path}:3 is not JSON`,
  );
  assert.deepEqual(found, ['one']);
});

test('a line without the text is refused with file, line and the keys it has', async (t) => {
  const path = file(t, 'a.jsonl', '{"text":"one"}\n{"id":2,"content":"two"}\n');
  await refuses(() => read(path), 'corpus/no-text', `${path}:2`, '"text"', '--text-field');
});

test('a text that is not a string is refused, and so is a line that is not an object', async (t) => {
  for (const line of ['{"text":5}', '{"text":{}}', '{"text":["a"]}', 'null', '5', '"text"', '[]']) {
    const path = file(t, 'a.jsonl', `${line}\n`);
    await refuses(() => read(path), 'corpus/no-text', `${path}:1`);
  }
});

test('a truncated .txt.gz is refused by name', async (t) => {
  const packed = gzipSync(randomTexts(3).join(''));
  const path = file(t, 'a.txt.gz', packed.subarray(0, packed.length - 50));
  await refuses(() => read(path), 'corpus/cut-short', path, 'to its end');
});

test('a truncated .jsonl.gz is refused by name', async (t) => {
  const packed = gzipSync(jsonl(randomTexts(4)));
  for (const length of [packed.length - 50, packed.length >> 1, 0]) {
    const path = file(t, 'a.jsonl.gz', packed.subarray(0, length));
    await refuses(() => read(path), 'corpus/cut-short', path, 'to its end');
  }
});

test('a .gz file that is not packed at all is refused by name', async (t) => {
  const text = file(t, 'a.txt.gz', 'plain');
  await refuses(() => read(text), 'corpus/cut-short', text);
  const lines = file(t, 'a.jsonl.gz', jsonl(['plain']));
  await refuses(() => read(lines), 'corpus/cut-short', lines);
});

test('reading that stops before a damaged place is not affected', async (t) => {
  const path = join(temporaryDirectory(t), 'torn.jsonl.gz');
  const lines = Array.from({ length: 20_000 }, (_, i) => JSON.stringify({ text: `line ${i} ${Math.sin(i)}` })).join(
    '\n',
  );
  const whole = gzipSync(lines);
  writeFileSync(path, whole.subarray(0, whole.length - 2000));
  for await (const { text } of wholeDocuments(path, 'text')) {
    assert.ok(text.startsWith('line 0'));
    break;
  }
  // An error of the abandoned stream would end the process by now.
  await new Promise((resolve) => setTimeout(resolve, 100));
});

test('links in a corpus directory are followed, and the directory may be one', async (t) => {
  const elsewhere = file(t, 'a.txt', 'elsewhere');
  const directory = temporaryDirectory(t);
  symlinkSync(elsewhere, join(directory, 'a.txt'));
  const linked = join(temporaryDirectory(t), 'corpus');
  symlinkSync(directory, linked);
  for (const path of [directory, linked, join(directory, 'a.txt')])
    assert.deepEqual(await textsOf(path), ['elsewhere']);
});

test('what is not a file is refused: reading a pipe might never end', async (t) => {
  const directory = temporaryDirectory(t);
  execFileSync('mkfifo', [join(directory, 'a.txt')]);
  await refuses(() => read(directory), 'corpus/not-a-file', join(directory, 'a.txt'));
  await refuses(() => read(join(directory, 'a.txt')), 'corpus/not-a-file', join(directory, 'a.txt'));
});
