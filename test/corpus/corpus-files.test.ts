import assert from 'node:assert/strict';
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { corpusFiles, openCorpus } from '../../src/corpus/documents.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { wholeDocuments } from './whole-documents.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

function corpus(t: TestContext, files: Readonly<Record<string, string | Uint8Array>>): string {
  const root = temporaryDirectory(t);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  }
  return root;
}

const line = (text: string) => `${JSON.stringify({ text })}\n`;

async function texts(path: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { text } of wholeDocuments(path, 'text')) found.push(text);
  return found;
}

async function listed(path: string) {
  const { files, skipped } = await corpusFiles({ corpus: path, textField: 'text' });
  return { files: files.map(({ name }) => name), skipped: skipped.map(({ name }) => name) };
}

test('everything that is text is read, in directories too, in the order of paths', async (t) => {
  const root = corpus(t, {
    'a.JSONL': line('A'),
    'b.json': `${line('B')}${line('B2')}`,
    'c.json.gz': gzipSync(line('C')),
    'd.ndjson': line('D'),
    'e.TXT': 'E',
    'deep/er/f.Txt.GZ': gzipSync('F'),
    'deep/g.jsonl': line('G'),
    'deep.txt': 'H',
  });
  const { files, skipped } = await listed(root);
  assert.deepEqual(skipped, []);
  assert.deepEqual(files, [
    ...['a.JSONL', 'b.json', 'c.json.gz', 'd.ndjson', 'deep.txt', 'deep/er/f.Txt.GZ', 'deep/g.jsonl', 'e.TXT'],
  ]);
  assert.deepEqual(await texts(root), ['A', 'B', 'B2', 'C', 'D', 'H', 'F', 'G', 'E']);
});

test('files that are not part of the text are skipped, and listed with the reason', async (t) => {
  const root = corpus(t, {
    'a.jsonl': line('A'),
    '._a.jsonl': '\0\x05\x16\x07',
    '.DS_Store': '\0\0',
    '.git/b.txt': 'hidden',
    '__MACOSX/._a.jsonl': 'x',
    '__MACOSX/b.txt': 'x',
    'README.md': '# About',
    'README.txt': 'About',
    'LICENSE.txt': 'MIT',
    LICENSE: 'MIT',
    'table.csv': 'a,b',
    'whole.json': '{\n "text": "pretty"\n}\n',
    'list.json': '[{"text":"a"}]',
    'info.json': '{"description":"about","splits":{}}',
  });
  const said: string[] = [];
  await openCorpus({ corpus: [root], textField: 'text' }, { say: (text) => said.push(text) });
  const { files, skipped } = await listed(root);
  assert.deepEqual(files, ['a.jsonl']);
  assert.equal(skipped.length, 12);
  for (const name of skipped) assert.ok(said.join('\n').includes(name), name);
  assert.match(said.join('\n'), /hidden\): .*\.DS_Store/);
  assert.deepEqual(await texts(root), ['A']);
});

test('a .json file that is named is read where it holds JSON Lines, and refused where it does not', async (t) => {
  const root = corpus(t, {
    'a.json': line('A'),
    'b.json': '[{"text":"a"},\n{"text":"b"}]',
    'c.json': '{\n"text":"c"}',
  });
  assert.deepEqual(await texts(join(root, 'a.json')), ['A']);
  await refuses(() => texts(join(root, 'b.json')), 'corpus/not-json-lines', join(root, 'b.json'));
  await refuses(() => texts(join(root, 'c.json')), 'corpus/not-json-lines', join(root, 'c.json'), 'line 1');
});

test('the same text in two forms is refused, naming both', async (t) => {
  for (const [a, b] of [
    ['a.jsonl', 'a.jsonl.gz'],
    ['a.txt', 'a.txt.zst'],
    ['sub/a.JSONL', 'sub/a.ndjson.gz'],
    ['a.json', 'a.parquet'],
    ['a.jsonl', 'a.txt'],
  ] as const) {
    const root = corpus(t, { [a]: line('A'), [b]: 'A' });
    await refuses(() => listed(root), 'corpus/same-text-twice', join(root, a), join(root, b), 'twice');
  }
  const apart = corpus(t, { 'a.txt': 'A', 'b.jsonl': line('B'), 'sub/a.jsonl': line('C') });
  assert.deepEqual(await texts(apart), ['A', 'B', 'C']);
});

test('one file under two names is refused, naming both', async (t) => {
  const root = corpus(t, { 'a.jsonl': line('A') });
  symlinkSync('a.jsonl', join(root, 'b.jsonl'));
  await refuses(() => listed(root), 'corpus/same-file-twice', join(root, 'a.jsonl'), join(root, 'b.jsonl'), 'twice');
  const hard = corpus(t, { 'a.txt': 'A' });
  linkSync(join(hard, 'a.txt'), join(hard, 'b.txt'));
  await refuses(() => listed(hard), 'corpus/same-file-twice', join(hard, 'a.txt'), join(hard, 'b.txt'), 'twice');
  const linked = corpus(t, { 'sub/a.jsonl': line('A') });
  symlinkSync('sub', join(linked, 'sub2'));
  await refuses(
    () => listed(linked),
    'corpus/same-file-twice',
    join(linked, 'sub/a.jsonl'),
    join(linked, 'sub2/a.jsonl'),
    'twice',
  );
});

test(
  'links to files and directories elsewhere are followed, and one to a directory around it is not',
  onDemand,
  async (t) => {
    const elsewhere = corpus(t, { 'blobs/0123': line('A'), 'more/b.txt': 'B' });
    const root = corpus(t, {});
    symlinkSync(join(elsewhere, 'blobs/0123'), join(root, 'a.jsonl'));
    symlinkSync(join(elsewhere, 'more'), join(root, 'more'));
    symlinkSync('..', join(root, 'up'));
    symlinkSync('.', join(root, 'self'));
    const up = join(root, 'nested');
    mkdirSync(up);
    symlinkSync(root, join(up, 'root'));
    const { skipped } = await listed(join(root, 'nested')).catch(() => ({ skipped: ['refused'] }));
    assert.ok(skipped.length > 0);
    const inner = temporaryDirectory(t);
    symlinkSync(join(elsewhere, 'blobs/0123'), join(inner, 'a.jsonl'));
    symlinkSync(join(elsewhere, 'more'), join(inner, 'more'));
    symlinkSync('.', join(inner, 'self'));
    assert.deepEqual(await listed(inner), { files: ['a.jsonl', 'more/b.txt'], skipped: ['self'] });
    assert.deepEqual(await texts(inner), ['A', 'B']);
  },
);

test('a link that leads nowhere is refused by name', async (t) => {
  const root = corpus(t, { 'a.txt': 'A' });
  symlinkSync('gone.txt', join(root, 'b.txt'));
  await refuses(() => listed(root), 'corpus/not-a-file', join(root, 'b.txt'));
});

test('a directory in which all is skipped is refused with a reason', async (t) => {
  const root = corpus(t, { 'info.json': '{"a":1}', 'x.parquet.gz': 'x' });
  await refuses(() => listed(root), 'corpus/nothing-to-read', root, 'x.parquet.gz');
});

test('tables among conversations or token ids are skipped, and refused where they are named', async (t) => {
  const root = corpus(t, {
    'a.jsonl': `${JSON.stringify({ messages: [], ids: [1] })}\n`,
    'labels.csv': 'text,label\nx,1\n',
    'more/labels.tsv.gz': gzipSync('text\tlabel\nx\t1\n'),
  });
  for (const [kind, code] of [
    [{ chatField: 'messages' }, 'corpus/chat-of-text'],
    [{ idsField: 'ids' }, 'corpus/ids-of-text'],
  ] as const) {
    const { files, skipped } = await corpusFiles({ corpus: root, textField: 'text', ...kind });
    assert.deepEqual(
      [files, skipped].map((list) => list.map(({ name }) => name)),
      [['a.jsonl'], ['labels.csv', 'more/labels.tsv.gz']],
    );
    const named = { corpus: join(root, 'labels.csv'), textField: 'text', ...kind };
    await refuses(() => corpusFiles(named), code, 'labels.csv');
  }
});
