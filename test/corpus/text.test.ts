import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { type Context, packContexts } from '../../src/corpus/contexts.js';
import { readDocuments } from '../../src/corpus/documents.js';
import { ReadTally } from '../../src/corpus/read-tally.js';
import { Text, type TextStart } from '../../src/corpus/text.js';
import { chunkOf, contextsOf } from '../../src/corpus/text-chunk.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { silent } from '../../src/progress/progress.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const MODEL = 'assets/tiny-gemma';
const expected = { bosTokenId: 2 };
const start = (more: Partial<TextStart> = {}): TextStart => ({
  ...{ model: MODEL, expected, corpus: ['assets/corpus/validation.jsonl.gz'], textField: 'text', context: 128 },
  ...more,
});

async function take(contexts: AsyncIterable<Context>, count = Number.POSITIVE_INFINITY): Promise<Context[]> {
  const taken: Context[] = [];
  for await (const context of contexts) {
    taken.push(context);
    if (taken.length === count) break;
  }
  return taken;
}

test('contexts are those of the corpus, counted beforehand or not, however often they are read', async () => {
  const { corpus, textField, context } = start();
  const plain = await take(
    packContexts(
      ...([readDocuments(corpus[0]!, textField), await openTokenizer(MODEL, expected), context] as const),
      undefined,
      new ReadTally(1),
    ),
  );
  assert.ok(plain.length > 600);
  const text = await Text.open(start());
  assert.equal(text.facts.bosTokenId, 2);
  assert.equal(text.facts.special.get(1), '<eos>');
  assert.deepEqual(await take(text.ahead(), 300), plain.slice(0, 300));
  assert.deepEqual(await take(text.ahead(), 10), plain.slice(0, 10));
  assert.deepEqual(await take(text.contexts(), 5), plain.slice(0, 5));
  assert.deepEqual(await take(text.contexts()), plain);
  assert.deepEqual(await take(text.contexts()), plain);
  await text.close(silent);
});

test('what is kept is not read again', async (t) => {
  const corpus = join(temporaryDirectory(t), 'c.jsonl');
  const line = `${JSON.stringify({ text: 'The state of the Union is strong. '.repeat(400) })}\n`;
  writeFileSync(corpus, line.repeat(30));
  const text = await Text.open(start({ corpus: [corpus] }));
  const before = await take(text.ahead());
  writeFileSync(corpus, '');
  assert.deepEqual(await take(text.contexts(), before.length), before);
  await text.close(silent);
});

test('a text that fills no context is refused with its number of tokens', async (t) => {
  const corpus = join(temporaryDirectory(t), 'c.jsonl');
  const words = 'The state of the Union';
  writeFileSync(corpus, `${JSON.stringify({ text: words })}\n`.repeat(2));
  const tokenizer = await openTokenizer(MODEL, expected);
  const document = tokenizer.begin('the words');
  const count = [...document.push(words), ...document.end()].reduce((sum, ids) => sum + ids.length, 0);
  for (const [lines, tokens] of [
    [2, 2 * count],
    [0, 0],
  ] as const) {
    if (lines === 0) writeFileSync(corpus, `${JSON.stringify({ text: '' })}\n`);
    const text = await Text.open(start({ corpus: [corpus] }));
    await refuses(() => take(text.ahead()), 'corpus/too-short', corpus, `${tokens} tokens`, '128', '--context');
    await text.close(silent);
  }
});

test('chunks keep which document each token is of', () => {
  const documents = [
    [0, 0, 0],
    [0, 2, 3],
    [3, 3, 4],
  ];
  const contexts = documents.map((list, i) => ({
    ...{ index: 7 + i, tokens: Int32Array.of(2, i, 5) },
    documents: Uint32Array.from(list),
  }));
  assert.deepEqual([...contextsOf(chunkOf(contexts), 3)], contexts);
});

test('errors of tokenizer or text are refused from their thread as they would be here', async (t) => {
  await refuses(
    () => Text.open(start({ model: join(MODEL, 'nowhere') })),
    'corpus/no-tokenizer',
    'has no tokenizer.json',
  );
  const corpus = join(temporaryDirectory(t), 'c.jsonl');
  writeFileSync(corpus, `${JSON.stringify({ text: 'The state of the Union. '.repeat(100) })}\n{"broken\n`);
  const text = await Text.open(start({ corpus: [corpus] }));
  const taken: Context[] = [];
  await refuses(
    async () => {
      for await (const context of text.contexts()) taken.push(context);
    },
    'corpus/not-json',
    'c.jsonl:2 is not JSON',
  );
  assert.ok(taken.length > 0);
  await text.close(silent);
});

test('special tokens written out in texts are reported once, with their counts', async (t) => {
  const corpus = join(temporaryDirectory(t), 'c.jsonl');
  const texts = ['<bos>one two three', '<bos><bos>four', 'a <eos> b<pad><eos> c <bos>'].map((text) =>
    JSON.stringify({ text }),
  );
  writeFileSync(corpus, `${texts.join('\n')}\n`);
  const text = await Text.open(start({ corpus: [corpus], context: 2 }));
  await take(text.ahead());
  const said: string[] = [];
  const progress = { ...silent, say: (line: string) => said.push(line) };
  text.remark(progress);
  text.remark(progress);
  await text.close(silent);
  assert.equal(said.length, 2);
  assert.match(said[0]!, /^2 documents .*<bos>/);
  assert.match(said[1]!, /<pad> 1 .*<eos> 2 .*<bos> 1 /);
});

/** Runs lines of JavaScript in a separate process, which must end by itself. */
function run(t: Parameters<typeof temporaryDirectory>[0], lines: string): string {
  const directory = temporaryDirectory(t);
  mkdirSync(directory, { recursive: true });
  const module = pathToFileURL(resolve('dist/src/corpus/text.js')).href;
  const script = `import { Text } from ${JSON.stringify(module)};
    const text = await Text.open(${JSON.stringify(start())});
    ${lines}`;
  const file = join(directory, 'run.mjs');
  writeFileSync(file, script);
  const { status, stdout, stderr, signal } = spawnSync(process.execPath, [file], { encoding: 'utf8', timeout: 60_000 });
  assert.equal(signal, null, 'the process did not end by itself');
  assert.equal(status, 0, stderr);
  return stdout;
}

test('a text keeps no process alive: unread, abandoned half-way, or never closed', (t) => {
  run(t, '');
  const first = run(t, 'const all = text.contexts(); console.log((await all.next()).value.tokens.length);');
  assert.equal(first, '128\n');
  run(t, 'for await (const one of text.contexts()) break;');
  run(t, 'for await (const one of text.ahead()) break; await text.close({ say() {} });');
});
