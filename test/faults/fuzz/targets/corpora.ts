import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { packContexts } from '../../../../src/corpus/contexts.js';
import { readDocuments } from '../../../../src/corpus/documents.js';
import { withinVocabulary } from '../../../../src/corpus/ids/ids.js';
import { openTokenizer } from '../../../../src/corpus/tokenizer.js';
import type { Generator } from '../../../../src/random/generator.js';
import { mutateBytes } from '../bytes.js';
import { linkOut } from '../canary.js';
import { oneIn, pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { bytesOf, type Target } from '../target.js';
import { mutateText } from '../text.js';

const LINES = ['First.', 'Zweites, mit Ümlaut: λ → 😀', '', 'line\nline', 'x y', 'last'.repeat(50)];
const JSON_LINES = [...LINES, 'x\u0000y \ud800'];
const JSONL = JSON_LINES.map((text, i) => `${JSON.stringify({ id: i, text })}\n`).join('');
const TABLE = `id,text\n${LINES.map((text, i) => `${i},"${text.replaceAll('"', '""')}"\n`).join('')}`;
/** Characters that take too long to be tokenized in a case. */
const LONG = 2 ** 20;
const MODEL = 'assets/tiny-gemma';
let tokenizer: ReturnType<typeof openTokenizer> | undefined;

const READING = { idsDtype: 'uint16' } as const;

async function read(path: string, random: Generator): Promise<string> {
  const hash = createHash('sha256');
  let [documents, length] = [0, 0];
  for await (const { pieces, ids = [], source } of readDocuments(path, 'text', READING)) {
    assert.ok(source.startsWith(path));
    for await (const piece of pieces) {
      assert.equal(typeof piece, 'string');
      hash.update(piece);
      length += piece.length;
    }
    for await (const part of ids) {
      assert.ok(part instanceof Int32Array && part.every((id) => id >= 0));
      hash.update(part);
      length += part.length;
    }
    hash.update(source);
    documents++;
  }
  if (oneIn(random, 8) && length < LONG) {
    tokenizer ??= openTokenizer(MODEL, { bosTokenId: 2 });
    const known = withinVocabulary(readDocuments(path, 'text', READING), 4096);
    for await (const { tokens } of packContexts(known, await tokenizer, 16)) {
      assert.ok(tokens.every((token) => token >= 0 && token < 4096));
    }
  }
  return `${documents} ${hash.digest('hex')}`;
}

function corpus(
  ending: string,
  share: number,
  whole: (path: string) => void,
  change: (bytes: Buffer, random: Generator, elsewhere: readonly string[]) => Buffer,
): Target {
  const file = `corpus${ending}`;
  return {
    name: `corpus ${ending}`,
    share,
    module: import.meta.url,
    prepare: async (directory) => whole(join(directory, file)),
    mutate(files, random, elsewhere) {
      // A link that stays would be the same, whichever file is read.
      if (oneIn(random, 20)) files.set(file, linkOut(random, elsewhere));
      else files.set(file, change(bytesOf(files, file), random, elsewhere));
    },
    read,
    command: (directory, out) => ({
      args: [
        ...['harvest', '--model', MODEL, '--corpus', directory, '--tokens', '30', '--context', '16', '--batch', '2'],
        ...['--ids-dtype', READING.idsDtype],
        ...['--hook', 'blocks.0.hook_resid_pre', '--out', out],
      ],
    }),
  };
}

function lines(text: Buffer, random: Generator, elsewhere: readonly string[]): Buffer {
  if (oneIn(random, 2)) return mutateText(text, random);
  const all = text.toString('latin1').split('\n');
  const at = random.below(all.length - 1);
  all[at] = mutateJson(Buffer.from(all[at]!, 'latin1').toString(), random, elsewhere).toString('latin1');
  return Buffer.from(all.join('\n'), 'latin1');
}

/** Packed again, torn, with garbage or another member after the end, or a little that unpacks to very much. */
function packed(bytes: Buffer, random: Generator, plain: (text: Buffer) => Buffer): Buffer {
  return pick(random, [
    () => mutateBytes(bytes, random),
    () => gzipSync(plain(gunzipSync(bytes))),
    () => bytes.subarray(0, random.below(bytes.length)),
    () => Buffer.concat([bytes, mutateBytes(bytes, random)]),
    () => Buffer.concat([bytes, bytes, Buffer.alloc(random.below(100))]),
    () => (oneIn(random, 12) ? bomb() : plain(gunzipSync(bytes))),
  ])();
}

/** A few mebibytes that would unpack to 600 MiB, in one line. */
export function bomb(): Buffer {
  const tenth = gzipSync(Buffer.alloc(60 * 2 ** 20, 'a'), { level: 1 });
  return Buffer.concat(Array.from({ length: 10 }, () => tenth));
}

export const CORPORA: readonly Target[] = [
  corpus('.jsonl', 3, (path) => writeFileSync(path, JSONL), lines),
  corpus(
    '.jsonl.gz',
    2,
    (path) => writeFileSync(path, gzipSync(JSONL)),
    (bytes, random, elsewhere) => packed(bytes, random, (text) => lines(text, random, elsewhere)),
  ),
  corpus('.txt', 1, (path) => writeFileSync(path, LINES.join('\n')), mutateText),
  corpus(
    '.txt.gz',
    1,
    (path) => writeFileSync(path, gzipSync(LINES.join('\n'))),
    (bytes, random) => packed(bytes, random, (text) => mutateText(text, random)),
  ),
  corpus('.txt.zst', 1, (path) => copyFileSync('test/corpus/fixtures/two-frames.txt.zst', path), mutateBytes),
  {
    ...corpus('.parquet', 3, (path) => copyFileSync('test/corpus/fixtures/tiny.parquet', path), mutateBytes),
    memory: 1200,
  },
  corpus('.csv', 1, (path) => writeFileSync(path, TABLE), mutateText),
  ...Object.entries({ texts: 'saved-texts/data-00000-of-00002', ids: 'ids' }).map(([of, name]) => ({
    ...corpus('.arrow', 1, (path) => copyFileSync(`test/corpus/fixtures/sources/${name}.arrow`, path), mutateBytes),
    ...{ name: `corpus .arrow of ${of}`, memory: 1200 },
  })),
  corpus('.npy', 1, (path) => copyFileSync('test/corpus/fixtures/sources/even.npy', path), mutateBytes),
];
