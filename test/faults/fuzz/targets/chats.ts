import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Chats } from '../../../../src/corpus/chats/chats.js';
import { packContexts } from '../../../../src/corpus/contexts.js';
import { readDocuments } from '../../../../src/corpus/documents.js';
import { openTokenizer } from '../../../../src/corpus/tokenizer.js';
import type { Generator } from '../../../../src/random/generator.js';
import { goldenChats, template } from '../../../corpus/chats/gemma-chats.js';
import { mutateBytes } from '../bytes.js';
import { oneIn, pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { bytesOf, type Target } from '../target.js';
import { mutateText } from '../text.js';

const TEMPLATE = 'chat_template.jinja';
/** Of the bundled model, to which a case adds its template. */
const TOKENIZER = ['config.json', 'tokenizer.json', 'tokenizer_config.json'];
const CHATS = goldenChats.slice(0, 6).map(({ messages }) => JSON.stringify({ messages }));
/** Milliseconds for a few conversations. */
const PATIENCE = 3000;

/** What no template should do. */
const HOSTILE = [
  '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}',
  '{% set ns = namespace(t="xxxxxxxx") %}{% for i in range(40) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}',
  '{{ range(1000000000) }}',
  '{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}',
  '{{ messages.constructor }}{{ messages.__proto__ }}{{ raise_exception(messages) }}',
  '{% generation %}{% generation %}{{ messages }}{% endgeneration %}',
  '\ufdd0{{ messages | tojson }}\ufdd1',
];

/** Reads the conversations of a file as a harvest of the assistant's tokens does. */
async function read(directory: string, file: string): Promise<string> {
  const tokenizer = await openTokenizer(directory, { bosTokenId: 2 });
  const chats = await Chats.open(directory, { field: 'messages', roles: ['assistant'] }, PATIENCE);
  const reading = { chatField: 'messages', chatParts: chats.keepsParts };
  const documents = chats.texts(readDocuments(join(directory, file), 'text', reading));
  const counts: number[] = [];
  for await (const { tokens, counted } of packContexts(documents, tokenizer, 16)) {
    assert.ok(tokens.every((token) => token >= 0 && token < 4096));
    assert.ok(counted?.every((count) => count === 0 || count === 1) ?? true);
    counts.push(...tokens, ...(counted ?? []));
  }
  return counts.join();
}

function target(ending: string, share: number, whole: (path: string) => void, change: Target['mutate']): Target {
  return {
    name: `chats ${ending}`,
    share,
    module: import.meta.url,
    prepare: async (directory) => {
      for (const name of TOKENIZER) copyFileSync(join('assets/tiny-gemma', name), join(directory, name));
      writeFileSync(join(directory, TEMPLATE), template);
      whole(join(directory, `chats${ending}`));
    },
    mutate: change,
    read: (directory) => read(directory, `chats${ending}`),
    memory: 1200,
  };
}

function line(text: Buffer, random: Generator, elsewhere: readonly string[]): Buffer {
  const all = text.toString().split('\n');
  const at = random.below(CHATS.length);
  all[at] = mutateJson(all[at]!, random, elsewhere).toString('latin1');
  return Buffer.from(all.join('\n'), 'latin1');
}

/** Conversations and templates that are broken, or worse. */
export const BROKEN_CHATS: readonly Target[] = [
  target(
    '.jsonl',
    2,
    (path) => writeFileSync(path, `${CHATS.join('\n')}\n`),
    (files, random, elsewhere) => {
      const [text, source] = [bytesOf(files, 'chats.jsonl'), bytesOf(files, TEMPLATE)];
      pick(random, [
        () => files.set('chats.jsonl', line(text, random, elsewhere)),
        () => files.set('chats.jsonl', mutateText(text, random)),
        () => files.set(TEMPLATE, mutateText(source, random)),
        () => files.set(TEMPLATE, Buffer.concat([source, Buffer.from(pick(random, HOSTILE))])),
        () => oneIn(random, 2) && files.set(TEMPLATE, Buffer.from(pick(random, HOSTILE))),
      ])();
    },
  ),
  target(
    '.parquet',
    1,
    (path) => copyFileSync('test/corpus/fixtures/chats.parquet', path),
    (files, random) => files.set('chats.parquet', mutateBytes(bytesOf(files, 'chats.parquet'), random)),
  ),
];
