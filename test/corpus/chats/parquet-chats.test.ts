import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parquetMetadata } from 'hyparquet';
import { readDocuments } from '../../../src/corpus/documents.js';
import { alongRanges, type ByteRange } from '../../../src/corpus/remote-file.js';
import { refuses } from '../../config/refuses.js';
import { served } from '../served-datasets.js';
import { goldenChats } from './gemma-chats.js';

const FILE = 'test/corpus/fixtures/chats.parquet';

async function conversations(corpus: string, chatField: string) {
  const read: unknown[] = [];
  const said: string[] = [];
  const say = (line: string) => said.push(line);
  for await (const { conversation } of readDocuments(corpus, 'text', { chatField, say })) read.push(conversation);
  return { read, said };
}

test('conversations of Parquet are those that pyarrow wrote, rows with null skipped', async () => {
  const written = goldenChats.filter(({ messages }) => messages.every(({ content }) => typeof content === 'string'));
  const { read, said } = await conversations(FILE, 'messages');
  assert.deepEqual(
    read,
    written
      .slice(0, 12)
      .filter((_, i) => i !== 4)
      .map(({ messages }) => messages),
  );
  assert.match(said[0]!, /1 document with null in "messages"/);
});

test('other columns and other files are refused by name', async () => {
  await refuses(() => conversations(FILE, 'chat'), 'corpus/no-text-column', '--chat-field');
  await refuses(() => conversations(FILE, 'id'), 'corpus/no-chat', 'a number');
  await refuses(() => conversations('assets/corpus/train.jsonl.gz', 'messages'), 'corpus/no-text', '--chat-field');
  await refuses(() => conversations('test/corpus/fixtures/prose.txt.zst', 'messages'), 'corpus/chat-of-text');
});

test('of Parquet on the hub, the parts of the column are requested in order, each once', async (t) => {
  const file = readFileSync(FILE);
  const { hub } = await served(t, { 'o/chats': { files: new Map([['chats.parquet', file]]) } });
  const { read } = await conversations('hf:o/chats', 'messages');
  assert.deepEqual(read, (await conversations(FILE, 'messages')).read);
  const { row_groups } = parquetMetadata(new Uint8Array(file).buffer);
  const starts = row_groups
    .flatMap(({ columns }) => columns.map(({ meta_data }) => meta_data!))
    .filter(({ path_in_schema }) => path_in_schema[0] === 'messages')
    .map((column) => Number(column.dictionary_page_offset ?? column.data_page_offset));
  // The footer's request starts at 0, with all of a file this small.
  const asked = hub.bytes.map(({ from }) => from).filter((from) => from > 0);
  assert.deepEqual(
    asked.sort((a, b) => a - b),
    starts.sort((a, b) => a - b),
  );
});

test('reads of ranges that are requested together have the bytes of their places', async () => {
  const bytes = Uint8Array.from({ length: 2 ** 18 }, (_, i) => (i * 31) % 251);
  let asked = 0;
  const source = {
    size: bytes.length,
    async read(start: number, end: number) {
      asked += end - start;
      return bytes.slice(start, end);
    },
    async close() {},
  };
  const ranges: ByteRange[] = [
    [10, 100_000],
    [100_000, 100_300],
    [200_000, 250_000],
  ];
  const along = alongRanges(source, ranges);
  const found = await Promise.all(ranges.map(([start, end]) => along.read(start, end)));
  for (const [i, [start, end]] of ranges.entries()) assert.deepEqual(found[i], bytes.slice(start, end));
  assert.equal(asked, 150_290, 'each byte is asked for once');
});
