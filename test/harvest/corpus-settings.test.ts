import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type Manifest, readManifest, writeManifest } from '../../src/activations/manifest.js';
import { streamHeader } from '../../src/activations/row-stream.js';
import { type HarvestConfig, harvestSchema } from '../../src/config/stages/harvest.js';
import { openTokenizer } from '../../src/corpus/tokenizer.js';
import { harvest } from '../../src/harvest/harvest.js';
import { type Progress, silent } from '../../src/progress/progress.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const root = temporaryDirectory();
const HOOK = 'blocks.0.hook_resid_pre';
const never = { signal: undefined };
const PROSE = 'Une fa\xe7ade, un caf\xe9 et une \xeele; ce n\u2019est pas l\xe0. '.replaceAll('\u2019', "'").repeat(80);

function written(name: string, content: string | Uint8Array): string {
  const path = join(root, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, content);
  return path;
}

const config = (corpus: string, out: string, more: Partial<HarvestConfig> = {}) =>
  harvestSchema.parse({
    ...{ model: 'assets/tiny-gemma', corpus, hook: [HOOK], tokens: 200, context: 32, batch: 2, out: join(root, out) },
    ...more,
  });

async function harvested(settings: HarvestConfig, progress: Progress = silent): Promise<Manifest> {
  const [directory] = await harvest(settings, progress, never);
  return readManifest(directory!);
}

test('a text in another encoding has the tokens of the same text in UTF-8, and the store says which it was', async () => {
  const stores: string[] = [];
  for (const [encoding, bytes] of [
    ['utf-8', Buffer.from(PROSE)],
    ['latin-1', Buffer.from(PROSE, 'latin1')],
    ['utf-16', Buffer.from(`\ufeff${PROSE}`, 'utf16le')],
  ] as const) {
    const manifest = await harvested(config(written(`${encoding}/a.txt`, bytes), `in ${encoding}`, { encoding }));
    assert.equal(manifest.encoding, encoding);
    assert.equal(streamHeader(manifest).encoding, encoding === 'utf-8' ? undefined : encoding);
    stores.push(manifest.contexts[0]!.sha256);
  }
  assert.equal(new Set(stores).size, 1);
});

test('token ids are harvested as the text that they were made of', async () => {
  const text = written('ids/a.txt', PROSE);
  const tokens = (await openTokenizer('assets/tiny-gemma', { bosTokenId: 2 })).begin('a');
  const ids = [...tokens.push(PROSE), ...tokens.end()].flatMap((part) => [...part]);
  const lines = written('ids/a.jsonl', JSON.stringify({ id: 1, input_ids: ids }));
  const raw = written('ids/raw/a.bin', new Uint8Array(Uint16Array.from(ids).buffer));
  const stores: string[] = [];
  for (const [corpus, more] of [
    [text, {}],
    [lines, {}],
    [raw, { idsDtype: 'uint16' }],
    [join(raw, '..'), { idsDtype: 'uint16' }],
  ] as const) {
    const manifest = await harvested(config(corpus, `ids ${stores.length}`, more));
    stores.push(manifest.contexts[0]!.sha256);
  }
  assert.equal(new Set(stores).size, 1);
  const beyond = written('ids/beyond.jsonl', JSON.stringify({ input_ids: [5, 60_000] }));
  await refuses(
    () => harvested(config(beyond, 'beyond')),
    'corpus/token-outside-vocabulary',
    'beyond.jsonl:1',
    '60000',
  );
});

test('resuming with another encoding is refused, and a store without one is in UTF-8', async () => {
  const corpus = written('resume/a.txt', 'Plain words that are the same in both encodings. '.repeat(80));
  const first = config(corpus, 'resumed');
  const manifest = await harvested(first);
  const directory = join(first.out, HOOK);
  await refuses(
    () => harvested({ ...first, resume: true, encoding: 'latin-1' }),
    'harvest/other-settings',
    'encoding',
    'utf-8',
    'latin-1',
  );
  await writeManifest(directory, { ...manifest, encoding: undefined });
  await harvested({ ...first, resume: true });
  await refuses(
    () => harvested({ ...first, resume: true, encoding: 'latin-1' }),
    'harvest/other-settings',
    'encoding',
    'utf-8',
    'latin-1',
  );
});

test('a store lists the files that were read, and a message says what was skipped', async () => {
  const line = (text: string | null) => `${JSON.stringify({ text })}\n`;
  const text = line('Words of a file in a directory. '.repeat(60));
  const more = gzipSync(text + line(null) + line('a \ud800 b') + text);
  written('texts/more/b.jsonl.gz', more);
  written('texts/table.csv', 'a,b');
  const corpus = join(written('texts/a.jsonl', text), '..');
  const said: string[] = [];
  const progress = { ...silent, say: (line: string) => said.push(line) };
  const manifest = await harvested(config(corpus, 'listed', { tokens: 1700 }), progress);
  assert.deepEqual(manifest.corpus_files, {
    count: 2,
    bytes: text.length + more.length,
    first: [
      { file: 'a.jsonl', bytes: text.length },
      { file: 'more/b.jsonl.gz', bytes: more.length },
    ],
  });
  const about = (word: string) => said.filter((line) => line.includes(word));
  assert.equal(about('table.csv').length, 1);
  assert.equal(about('null').length, 1);
  assert.equal(about('U+FFFD').length, 1);
  const onDisk = JSON.parse(readFileSync(join(root, 'listed', HOOK, 'manifest.json'), 'utf8')) as Manifest;
  assert.deepEqual(onDisk.corpus_files, manifest.corpus_files);
});
