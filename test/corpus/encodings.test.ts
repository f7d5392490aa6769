import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { Encoding } from '../../src/config/values.js';
import { Generator } from '../../src/random/generator.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { wholeDocuments } from './whole-documents.js';

const directory = temporaryDirectory();

function file(name: string, content: Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

async function read(path: string, encoding?: Encoding): Promise<string[]> {
  const texts: string[] = [];
  for await (const { text } of wholeDocuments(path, 'text', { encoding })) texts.push(text);
  return texts;
}

const utf16be = (text: string) => Buffer.from(text, 'utf16le').swap16();
/** Longer than what is read at a time, with characters of one to four bytes at all places. */
function longText(seed: number, letters: readonly string[]): string {
  const random = new Generator(seed);
  return Array.from({ length: 200_000 }, () => letters[random.below(letters.length)]).join('');
}
const ANY = ['a', ' ', '\n', 'é', 'λ', '…', '漢', '😀', '\u{10ffff}', '\ufeff'];

test('UTF-8 is read with a byte order mark and without, and a mark elsewhere is text', async () => {
  const text = `x${longText(1, ANY)}`;
  for (const [name, bytes] of [
    ['a.txt', Buffer.from(text)],
    ['b.txt', Buffer.from(`\ufeff${text}`)],
    ['c.txt.gz', gzipSync(`\ufeff${text}`)],
  ] as const) {
    assert.ok((await read(file(name, bytes)))[0] === text, name);
  }
  const lines = '\ufeff{"text":"one"}\n{"text":"two"}\n';
  assert.deepEqual(await read(file('a.jsonl', Buffer.from(lines))), ['one', 'two']);
});

test('UTF-16 is read with --encoding, and refused without', async () => {
  const text = longText(2, ANY.slice(0, -1));
  const mark = '\ufeff';
  const forms: [string, Buffer, Encoding][] = [
    ['le.txt', Buffer.from(mark + text, 'utf16le'), 'utf-16'],
    ['be.txt', utf16be(mark + text), 'utf-16'],
    ['le-marked.txt', Buffer.from(mark + text, 'utf16le'), 'utf-16le'],
    ['le-bare.txt', Buffer.from(text, 'utf16le'), 'utf-16le'],
    ['be-bare.txt', utf16be(text), 'utf-16be'],
    ['be.txt.gz', gzipSync(utf16be(text)), 'utf-16be'],
  ];
  for (const [name, bytes, encoding] of forms) {
    const path = file(name, bytes);
    assert.ok((await read(path, encoding))[0] === text, name);
    await refuses(() => read(path), 'corpus/wrong-encoding', path, 'not valid UTF-8 at byte');
  }
  const lines = file('le.jsonl', Buffer.from(`${mark}{"text":"één"}\r\n{"text":"😀"}\r\n`, 'utf16le'));
  assert.deepEqual(await read(lines, 'utf-16'), ['één', '😀']);
  assert.deepEqual(await read(file('empty.txt', Buffer.alloc(0)), 'utf-16le'), ['']);
  assert.deepEqual(await read(file('one.txt', utf16be('é')), 'utf-16be'), ['é']);
});

test('what is not UTF-8 is refused with file, byte, and the encoding that it looks like', async () => {
  const prose = 'The café at the corner of the street is open.\n'.repeat(20);
  const at = Buffer.from(prose, 'latin1').indexOf(0xe9);
  for (const [name, bytes, offset, ...words] of [
    ['latin.txt', Buffer.from(prose, 'latin1'), at, 'Latin-1', '--encoding latin-1'],
    ['latin.txt.gz', gzipSync(Buffer.from(prose, 'latin1')), at, 'Latin-1', 'unpacked'],
    ['latin.jsonl', Buffer.from(`{"text":"a"}\n{"text":"caf\xe9 noir"}\n`, 'latin1'), 25, 'Latin-1'],
    [
      'windows.txt',
      Buffer.from(`It\x92s caf\xe9 time. `.repeat(9), 'latin1'),
      2,
      'Windows-1252',
      '--encoding windows-1252',
    ],
    ['le.txt', Buffer.from('\ufeffplain words', 'utf16le'), 0, 'UTF-16', '--encoding utf-16'],
    ['be.jsonl', utf16be('\ufeff{"text":"plain words"}\n'), 0, 'UTF-16', '--encoding utf-16'],
    ['bare-le.txt', Buffer.from('plain words', 'utf16le'), 1, 'UTF-16', '--encoding utf-16le'],
    ['bare-be.txt', utf16be('plain words'), 0, 'UTF-16', '--encoding utf-16be'],
    ['packed.jsonl', gzipSync('{"text":"a"}\n'.repeat(50)), 1, 'gzip', '.gz'],
    ['zstd.txt', Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 4, 0, 1, 0, 0]), 1, 'Zstandard', '.zst'],
    ['noise.txt', Buffer.from(Array.from({ length: 300 }, (_, i) => (97 + i * 159) % 256)), 1, 'binary'],
    [
      'damaged.txt',
      Buffer.concat([Buffer.from('ééé'.repeat(40)), Buffer.of(0xff), Buffer.from('é'.repeat(90))]),
      240,
      'damaged',
    ],
    ['torn.txt', Buffer.from('words and 😀').subarray(0, -1), 10, 'UTF-8'],
    ['zero.txt', Buffer.from(`${'words '.repeat(30)}\0`), 180, 'binary'],
    ['surrogate.txt', Buffer.from([0x61, 0xed, 0xa0, 0x80, 0x62]), 1, 'UTF-8'],
    ['overlong.txt', Buffer.from([0x61, 0xc0, 0xaf, 0x62]), 1, 'UTF-8'],
  ] as [string, Buffer, number, ...string[]][]) {
    const path = file(name, bytes);
    await refuses(() => read(path), 'corpus/wrong-encoding', path, `at byte ${offset}`, ...words);
  }
});

test('bytes that Latin-1 would decode to garbage are not called Latin-1', async () => {
  const han = '这是一个测试文本，用于检查编码。\n'.repeat(30);
  // "测试，" in GB18030, "テスト" in Shift_JIS, "Привет " in KOI8-R.
  const spelt = (...bytes: number[]) => Buffer.from(Array.from({ length: 40 }, () => bytes).flat());
  const mixed = Buffer.concat([Buffer.from('{"text":"un café"}\n'), Buffer.from('{"text":"un café"}\n', 'latin1')]);
  for (const [name, bytes, ...words] of [
    ['gb.txt', spelt(0xb2, 0xe2, 0xca, 0xd4, 0xa3, 0xac), 'another alphabet'],
    ['sjis.txt', spelt(0x83, 0x65, 0x83, 0x58, 0x83, 0x67), 'another alphabet'],
    ['koi8.txt', spelt(0xf0, 0xd2, 0xc9, 0xd7, 0xc5, 0xd4, 0x20), 'another alphabet'],
    ['mixed.jsonl', mixed, 'some places'],
    ['utf-32.txt', Buffer.from([0xff, 0xfe, 0, 0, 0x61, 0, 0, 0]), 'UTF-32'],
    ['han-le.txt', Buffer.from(han, 'utf16le'), 'UTF-16', '--encoding utf-16le'],
    ['han-be.txt', utf16be(han), 'UTF-16', '--encoding utf-16be'],
  ] as [string, Buffer, ...string[]][]) {
    const path = file(name, bytes);
    await refuses(() => read(path), 'corpus/wrong-encoding', path, 'not valid UTF-8', ...words);
  }
});

test('a byte far into a file is counted from its beginning', async () => {
  const whole = Buffer.from(longText(3, ANY));
  for (const at of [65_535, 65_536, 65_537, 131_071, whole.length - 1]) {
    const bytes = Buffer.from(whole);
    let start = at;
    while (start > 0 && bytes[start]! >> 6 === 0b10) start--;
    bytes[start] = 0xff;
    const path = file('far.txt', bytes);
    await refuses(() => read(path), 'corpus/wrong-encoding', `at byte ${start};`);
  }
});

test('single-byte encodings are read with --encoding', async () => {
  const bytes = Buffer.from(Array.from({ length: 255 }, (_, i) => i + 1));
  const path = file('bytes.txt', bytes);
  assert.deepEqual(await read(path, 'latin-1'), [bytes.toString('latin1')]);
  const undefinedBytes = [0x81, 0x8d, 0x8f, 0x90, 0x9d];
  await refuses(() => read(path, 'windows-1252'), 'corpus/wrong-encoding', path, 'at byte 128');
  const defined = bytes.filter((byte) => !undefinedBytes.includes(byte));
  // (Node's own decoder of this name gives Latin-1 in some versions.)
  const decoded = Buffer.from(defined)
    .toString('latin1')
    .replace(/[\x80-\x9f]+/, '€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ');
  assert.deepEqual(await read(file('windows.txt', defined), 'windows-1252'), [decoded]);
  await refuses(
    () => read(file('utf16.txt', Buffer.from('words', 'utf16le')), 'latin-1'),
    'corpus/wrong-encoding',
    'at byte 1',
    'UTF-16',
  );
});

test('an encoding that cannot be the right one is refused', async () => {
  const prose = 'Plain prose, longer than a few bytes, in ASCII.';
  const utf8 = file('ascii.txt', Buffer.from(prose));
  for (const encoding of ['utf-16', 'utf-16le', 'utf-16be'] as const) {
    await refuses(() => read(utf8, encoding), 'corpus/wrong-encoding', utf8, 'looks like UTF-8', 'Omit --encoding');
  }
  const le = file('marked-le.txt', Buffer.from(`\ufeff${prose}`, 'utf16le'));
  await refuses(() => read(le, 'utf-16be'), 'corpus/wrong-encoding', le, '--encoding utf-16le');
  const bare = file('bare.txt', Buffer.from(prose, 'utf16le'));
  await refuses(() => read(bare, 'utf-16'), 'corpus/wrong-encoding', bare, 'utf-16le');
  const odd = file('odd.txt', Buffer.concat([Buffer.from(`\ufeff${prose}`, 'utf16le'), Buffer.of(0x61)]));
  await refuses(() => read(odd, 'utf-16'), 'corpus/wrong-encoding', odd, `at byte ${2 * prose.length + 2}`);
  const lone = file('lone.txt', Buffer.from('\ufeffab\ud83dcd', 'utf16le'));
  await refuses(() => read(lone, 'utf-16'), 'corpus/wrong-encoding', lone, 'at byte 6');
  await refuses(
    () => read('test/corpus/fixtures/tiny.parquet', 'latin-1'),
    'corpus/encoding-of-parquet',
    'Parquet',
    '--encoding',
  );
});

test('half a surrogate pair in JSON is read as U+FFFD, and counted', async () => {
  const path = file(
    'half.jsonl',
    Buffer.from('{"text":"a"}\n{"text":"x\\ud83d y\\ude00"}\n{"text":"\\ud83d\\ude00"}\n'),
  );
  const said: string[] = [];
  const texts: string[] = [];
  for await (const { text } of wholeDocuments(path, 'text', { say: (line) => said.push(line) })) texts.push(text);
  assert.deepEqual(texts, ['a', 'x\ufffd y\ufffd', '😀']);
  assert.equal(said.length, 1);
  assert.match(said[0]!, /2 unpaired .*half\.jsonl:2$/);
});
