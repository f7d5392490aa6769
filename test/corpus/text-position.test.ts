import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { Chats } from '../../src/corpus/chats/chats.js';
import { type Context, type Document, packContexts } from '../../src/corpus/contexts.js';
import { chosenDocuments, type DocumentChoice } from '../../src/corpus/document-choice.js';
import { readDocuments } from '../../src/corpus/documents.js';
import { DocumentsOfContexts, ReadTally } from '../../src/corpus/read-tally.js';
import { positionOf, type TextPosition } from '../../src/corpus/text-position.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { Generator } from '../../src/random/generator.js';
import { temporaryDirectory } from '../temporary.js';
import { chatModel, template } from './chats/gemma-chats.js';

const [LENGTH, BOS] = [16, 2];
const random = new Generator(5);
const words = ['Wort', 'λ → 😀', 'and', 'the', '<bos>', 'ein', '\\n', 'ÿ', 'end.'];
/** Texts of several lengths: some are empty, fill whole contexts, begin with BOS, or came before. */
const TEXTS = Array.from({ length: 40 }, (_, i) => {
  if (i % 13 === 7) return '';
  if (i % 11 === 10) return 'the same words again and again, more than a context of them, whatever comes';
  return Array.from({ length: 1 + random.below(60) }, () => words[random.below(words.length)]).join(' ');
});
const IDS = TEXTS.map((_, i) => Array.from({ length: (i * 7) % 40 }, () => 2 + random.below(300)));

interface Reading {
  readonly chatField?: string;
  readonly shortLine?: number;
  readonly encoding?: 'utf-16le';
}

interface Case {
  readonly name: string;
  readonly files: Readonly<Record<string, Buffer | string>>;
  readonly reading?: Reading;
  readonly choice?: DocumentChoice;
  readonly withoutBos?: true;
}

/** Contexts after which a text is continued: few where each reading starts a thread; more in the long form. */
const places = (contexts: number, { files, reading }: Case): number => {
  const threads = 'a.parquet' in files || reading?.chatField !== undefined;
  const long = process.env.SAE_PIPE_LONG === '1';
  return threads ? (long ? 12 : 3) : long ? contexts : 12;
};

const jsonl = (rows: readonly unknown[], end = '\n') => rows.map((row) => `${JSON.stringify(row)}${end}`).join('');
const parquet = (data: unknown[], name: string, type: 'STRING' | 'JSON') =>
  Buffer.from(parquetWriteBuffer({ columnData: [{ name, data, type }], rowGroupSize: 7 }));
const asLines = TEXTS.map((text) => ({ text }));
const someNull = asLines.map((line, i) => (i % 9 === 4 ? { text: null } : line));
const conversations = TEXTS.map((text, i) => ({
  messages: [
    { role: 'user', content: `${i} ${text}`.trim() },
    { role: 'assistant', content: i > 3 && i < 30 ? 'yes' : text || 'no' },
  ],
}));

const CASES: readonly Case[] = [
  { name: 'JSON Lines', files: { 'a.jsonl': jsonl(asLines) } },
  {
    name: 'several files, with CR LF, empty lines and a byte order mark',
    files: {
      'a.jsonl': `\ufeff${jsonl(someNull, '\r\n\n')}`,
      'b.jsonl.gz': gzipSync(jsonl(asLines.slice(0, 20))),
      'c.jsonl': jsonl(someNull.slice(5)),
    },
  },
  {
    name: 'long lines',
    files: { 'a.jsonl': jsonl(TEXTS.map((text, i) => ({ i, text, more: '😀'.repeat(i) }))) },
    reading: { shortLine: 40 },
  },
  {
    name: 'another encoding',
    files: { 'a.jsonl': Buffer.from(jsonl(asLines), 'utf16le') },
    reading: { encoding: 'utf-16le' },
  },
  { name: 'plain texts', files: { 'a.txt': TEXTS.join('\n'), 'b.txt': TEXTS.slice(3).join(' '), 'c.txt': '' } },
  { name: 'a table', files: { 'a.csv': `text\n${TEXTS.map((text) => `"${text}"\n\n`).join('')}` } },
  {
    name: 'Parquet',
    files: {
      'a.parquet': parquet(
        someNull.map(({ text }) => text),
        'text',
        'STRING',
      ),
      'b.parquet': parquet(TEXTS.slice(0, 9), 'text', 'STRING'),
    },
  },
  {
    name: 'token ids, without BOS in front',
    files: { 'a.jsonl': jsonl(IDS.map((ids) => ({ input_ids: ids }))) },
    withoutBos: true,
  },
  {
    name: 'token ids next to texts further on',
    files: { 'a.jsonl': jsonl(IDS.map((ids, i) => ({ input_ids: ids, ...(i > 0 && { text: 'other' }) }))) },
  },
  { name: 'token ids of Parquet', files: { 'a.parquet': parquet(IDS, 'input_ids', 'JSON') } },
  {
    name: 'chosen documents',
    files: { 'a.jsonl': jsonl(someNull), 'b.jsonl': jsonl(asLines) },
    choice: { skip: 5, most: 50, holdout: '30%' },
  },
  { name: 'chats', files: { 'a.jsonl': jsonl(conversations) }, reading: { chatField: 'messages' } },
  {
    name: 'chats of Parquet',
    files: {
      'a.parquet': parquet(
        conversations.map(({ messages }) => messages),
        'messages',
        'JSON',
      ),
    },
    reading: { chatField: 'messages' },
  },
];

type Pack = (from?: TextPosition, tally?: ReadTally) => AsyncGenerator<Context>;

async function packOf({ files, reading = {}, choice, withoutBos }: Case): Promise<Pack> {
  const directory = temporaryDirectory();
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  const tokenizer = await openTokenizer('assets/tiny-gemma', { bosTokenId: BOS, ...(withoutBos && { bos: 'never' }) });
  const settings = { field: 'messages', roles: ['assistant'] };
  const chats = reading.chatField ? await Chats.open(chatModel(template), settings) : undefined;
  return async function* (from, tally = new ReadTally(1)) {
    const all = readDocuments(directory, 'text', { ...reading, ...(from && { from }) });
    const chosen: AsyncIterable<Document> = chosenDocuments(all, choice ?? {}, from?.number);
    const documents = chats ? chats.texts(chosen, from !== undefined) : chosen;
    yield* packContexts(documents, tokenizer, LENGTH, undefined, tally, from);
  };
}

async function all(contexts: AsyncGenerator<Context>): Promise<Context[]> {
  const found = [];
  for await (const context of contexts) found.push(context);
  return found;
}

for (const one of CASES) {
  test(`a text continued behind any of its contexts is the same, with its figures: ${one.name}`, async () => {
    const pack = await packOf(one);
    const whole = await all(pack());
    assert.ok(whole.length > 12, `${whole.length} contexts`);
    const step = Math.max(1, Math.floor(whole.length / places(whole.length, one)));
    for (let at = 1; at < whole.length; at += step) {
      const position = positionOf(whole[at - 1]!.position!, at);
      const documents = new DocumentsOfContexts(one.withoutBos ? undefined : BOS);
      for (const context of whole.slice(0, at)) documents.add(context);
      if (position.over || documents.last !== position.document) documents.end();
      const tally = new ReadTally(1);
      tally.continueFrom({ figures: whole[at - 1]!.read!, known: documents.known });
      assert.deepEqual(await all(pack(position, tally)), whole.slice(at), `from context ${at}`);
    }
  });
}
