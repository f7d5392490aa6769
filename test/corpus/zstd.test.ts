import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readDocuments } from '../../src/corpus/documents.js';
import { unpackZstd, Xxh64 } from '../../src/corpus/unpacked.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { wholeDocuments } from './whole-documents.js';

const directory = temporaryDirectory();
const FIXTURES = 'test/corpus/fixtures';

async function texts(path: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { text } of wholeDocuments(path, 'text')) found.push(text);
  return found;
}

function file(name: string, bytes: Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, bytes);
  return path;
}

/** A frame without checksum, of blocks that repeat one byte: 4 bytes each for up to 128 KiB. */
function repeated(byte: string, blocks: number, size: number): Buffer {
  const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x38]);
  const block = (last: boolean) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUIntLE((size << 3) | 2 | (last ? 1 : 0), 0, 3);
    bytes.write(byte, 3, 'latin1');
    return bytes;
  };
  return Buffer.concat([head, ...Array.from({ length: blocks }, (_, i) => block(i === blocks - 1))]);
}

test('.zst is read, one frame or several', async () => {
  const rows = await texts(`${FIXTURES}/prose.parquet`);
  const whole = rows.join('\n');
  assert.deepEqual(await texts(`${FIXTURES}/prose.txt.zst`), [whole]);
  assert.deepEqual(await texts(`${FIXTURES}/two-frames.txt.zst`), [whole]);
  assert.deepEqual(await texts(file('EMPTY.TXT.ZST', repeated('x', 1, 0))), ['']);
});

test('a file that is torn, damaged or not Zstandard is refused by name', async () => {
  const whole = readFileSync(`${FIXTURES}/prose.txt.zst`);
  for (const length of [0, 3, 5, 9, 1000, whole.length - 5, whole.length - 1]) {
    const path = file('torn.txt.zst', whole.subarray(0, length));
    await refuses(() => texts(path), 'corpus/cut-short', path, 'to its end');
  }
  for (const at of [20, 500, 4000, whole.length - 2]) {
    const bytes = Buffer.from(whole);
    bytes[at]! ^= 0x10;
    await refuses(() => texts(file('damaged.txt.zst', bytes)), 'corpus/cut-short', 'damaged.txt.zst');
  }
  const garbage = file('garbage.txt.zst', Buffer.concat([whole, Buffer.from('garbage')]));
  await refuses(() => texts(garbage), 'corpus/cut-short', garbage, 'not Zstandard');
  const plain = file('plain.jsonl.zst', Buffer.from('{"text":"a"}\n'));
  await refuses(() => texts(plain), 'corpus/cut-short', plain, 'not Zstandard');
});

test('frames that need more memory than is allowed, or a dictionary, are refused', async () => {
  const wide = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x90, 1, 0, 0]);
  await refuses(() => texts(file('wide.txt.zst', wide)), 'corpus/zstd-window', 'wide.txt.zst', 'window', '--long');
  const single = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
  await refuses(() => texts(file('single.txt.zst', single)), 'corpus/zstd-window', 'single.txt.zst', 'window');
  const dictionary = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 1, 0x38, 7, 1, 0, 0]);
  await refuses(
    () => texts(file('dictionary.txt.zst', dictionary)),
    'corpus/zstd-dictionary',
    'dictionary.txt.zst',
    'dictionary',
  );
});

test('a decompression bomb is unpacked one block at a time', async () => {
  async function* source() {
    yield repeated('a', 10_000, 2 ** 17);
  }
  let [blocks, longest] = [0, 0];
  for await (const block of unpackZstd(source(), 'bomb.zst')) {
    blocks++;
    longest = Math.max(longest, block.length);
    if (blocks === 50) break;
  }
  assert.equal(longest, 2 ** 17);
  let length = 0;
  for await (const { pieces } of readDocuments(file('long.txt.zst', repeated('b', 400, 2 ** 17)), 'text')) {
    for await (const piece of pieces) length += piece.length;
  }
  assert.equal(length, 400 * 2 ** 17);
});

test('XXH64 has the values of its specification', () => {
  const hash = (text: string, cut = text.length) => {
    const xxh = new Xxh64();
    xxh.update(Buffer.from(text.slice(0, cut)));
    xxh.update(Buffer.from(text.slice(cut)));
    return xxh.digest().toString(16);
  };
  // The lower halves of ef46db3751d8e999, d24ec4f1a98c6e5b, 44bc2cf5ad770999 and fbcea83c8a378bf1 (python-xxhash's tests).
  assert.equal(hash(''), '51d8e999');
  assert.equal(hash('a'), 'a98c6e5b');
  assert.equal(hash('abc'), 'ad770999');
  const long = 'Nobody inspects the spammish repetition';
  assert.equal(hash(long), '8a378bf1');
  assert.equal(hash(long, 7), '8a378bf1');
});
