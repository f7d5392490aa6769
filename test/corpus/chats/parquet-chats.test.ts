import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readDocuments } from '../../../src/corpus/documents.js';
import { refuses } from '../../config/refuses.js';
import { goldenChats } from './gemma-chats.js';

const FILE = 'test/corpus/fixtures/chats.parquet';

async function conversations(corpus: string, chatField: string) {
  const read: unknown[] = [];
  const said: string[] = [];
  const say = (line: string) => said.push(line);
  for await (const { conversation } of readDocuments(corpus, 'text', { chatField, say })) read.push(conversation);
  return { read, said };
}

test('conversations of Parquet are those that pyarrow wrote, rows with null passed over', async () => {
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
