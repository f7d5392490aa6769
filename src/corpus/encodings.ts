import { isUtf8 } from 'node:buffer';
import type { Encoding } from '../config/values.js';
import { Refusal } from '../errors/refusal.js';
import { type FilePlace, placeName } from './remote-file.js';
import { fileBegin, type TextBegin } from './text-position.js';
import { type Packing, unpacked } from './unpacked.js';

/**
 * The text of a file in pieces of at most about 128 Ki characters, none of which ends in a high surrogate; a leading
 * byte order mark is dropped.
 *
 * @param begin byte to start at, in uncompressed files; a byte order mark is added to it
 * @throws Refusal naming the first byte that is invalid in this encoding, and the encoding it looks like
 */
export async function* textOf(
  place: FilePlace,
  packing: Packing,
  encoding: Encoding,
  begin: TextBegin = fileBegin(),
): AsyncGenerator<string> {
  const decoder = decoderOf(encoding, begin);
  try {
    for await (const bytes of unpacked(place, packing, begin.byte)) {
      const text = decoder.push(bytes);
      if (text !== '') yield text;
    }
    const rest = decoder.end();
    if (rest !== '') yield rest;
  } catch (cause) {
    if (!(cause instanceof NotText)) throw cause;
    const { what, remedy } = cause.guess;
    const unpackedText = packing === 'none' ? '' : ' of its unpacked text';
    throw new Refusal(
      `${placeName(place)} is not valid ${ENCODING_NAMES[encoding]} at byte ${cause.at}${unpackedText}; it looks like ${what}.`,
      remedy,
      'corpus/wrong-encoding',
      { cause },
    );
  }
}

const ENCODING_NAMES: Record<Encoding, string> = {
  'utf-8': 'UTF-8',
  'utf-16': 'UTF-16',
  'utf-16le': 'UTF-16LE',
  'utf-16be': 'UTF-16BE',
  'latin-1': 'Latin-1 text',
  'windows-1252': 'Windows-1252 text',
};

/** Bytes that are invalid in the encoding; `at` counts from the first byte. */
class NotText extends Error {
  constructor(
    readonly at: number,
    readonly guess: Guess,
  ) {
    super(`not text at byte ${at}`);
  }
}

/** Decodes bytes, chunk by chunk. No returned text ends in a high surrogate. */
interface Decoder {
  /** @throws NotText */
  push(bytes: Buffer): string;
  /** The rest, which was waiting for more bytes. @throws NotText if they end within a character */
  end(): string;
}

/** Leading bytes used to guess an encoding. */
const GUESSED_BYTES = 4096;
const NOTHING = Buffer.alloc(0);

/** Decodes a file's bytes from the first one; drops a leading byte order mark. */
function decoderOf(encoding: Encoding, begin: TextBegin): Decoder {
  switch (encoding) {
    case 'utf-8':
      return new Utf8(begin);
    case 'latin-1':
    case 'windows-1252':
      return new OneByte(encoding);
    default:
      return new Utf16(encoding);
  }
}

class Utf8 implements Decoder {
  private carry: Buffer = NOTHING;
  private head: Buffer = NOTHING;
  /** Bytes before the carried-over ones. */
  private before: number;
  private readonly start: number;
  private begun: boolean;

  constructor(private readonly begin: TextBegin) {
    this.before = begin.byte;
    this.start = begin.byte;
    this.begun = begin.byte > 0;
  }

  push(chunk: Buffer): string {
    const bytes = this.carry.length === 0 ? chunk : Buffer.concat([this.carry, chunk]);
    if (this.before === this.start) this.head = Buffer.from(bytes.subarray(0, GUESSED_BYTES));
    const end = wholeCharacters(bytes);
    const whole = bytes.subarray(0, end);
    const wrong = firstWrong(whole);
    if (wrong >= 0) throw this.notText(bytes, wrong);
    this.carry = Buffer.from(bytes.subarray(end));
    this.before += end;
    const text = whole.toString('utf8');
    const first = !this.begun && text !== '';
    this.begun ||= first;
    if (!first || !text.startsWith('\ufeff')) return text;
    this.begin.byte += 3;
    return text.slice(1);
  }

  end(): string {
    if (this.carry.length > 0) throw this.notText(this.carry, 0);
    return '';
  }

  private notText(bytes: Buffer, at: number): NotText {
    return new NotText(this.before + at, guessEncoding(this.head, bytes.subarray(at)));
  }
}

/** Length up to the last complete character; the rest may continue in the next chunk. */
export function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if (byte >> 6 === 0b10) continue;
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needed > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/**
 * The first byte that is not UTF-8; −1 if none.
 *
 * @param zeros whether zero bytes count as invalid: text files have none, and UTF-16 is full of them
 */
export function firstWrong(bytes: Buffer, zeros = true): number {
  const zero = zeros ? bytes.indexOf(0) : -1;
  const valid = zero < 0 ? bytes : bytes.subarray(0, zero);
  if (isUtf8(valid)) return zero;
  for (let i = 0; ; ) {
    const length = sequenceLength(valid, i);
    if (length === 0) return i;
    i += length;
  }
}

/** 0x80 … 0x9f in Windows-1252; 0: undefined. https://encoding.spec.whatwg.org/index-windows-1252.txt */
const C1 = [
  ...[0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017d, 0],
  ...[
    0, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e,
    0x0178,
  ],
];
const OTHER: Guess = { what: 'another encoding or binary data', remedy: 'Give the right --encoding, or a text file.' };

class OneByte implements Decoder {
  private before = 0;

  constructor(private readonly encoding: 'latin-1' | 'windows-1252') {}

  push(bytes: Buffer): string {
    const zero = bytes.indexOf(0);
    if (zero >= 0) throw new NotText(this.before + zero, guessEncoding(bytes, bytes));
    const text = bytes.toString('latin1');
    const decoded = this.encoding === 'latin-1' ? text : text.replace(/[\x80-\x9f]/g, (c, at) => this.windows(c, at));
    this.before += bytes.length;
    return decoded;
  }

  end(): string {
    return '';
  }

  private windows(character: string, at: number): string {
    const code = C1[character.charCodeAt(0) - 0x80]!;
    if (code === 0) throw new NotText(this.before + at, OTHER);
    return String.fromCharCode(code);
  }
}

const NO_MARK: Guess = {
  what: 'UTF-16 without a byte order mark, or another encoding',
  remedy: 'Give it with --encoding utf-16le or --encoding utf-16be.',
};
const IS_UTF8: Guess = { what: 'UTF-8', remedy: 'Omit --encoding.' };
/** Bytes that are unlikely to be valid UTF-8 without a zero byte if they were UTF-16. */
const TELLING = 32;

class Utf16 implements Decoder {
  private carry: Buffer = NOTHING;
  /** Bytes before the carried-over ones. */
  private before = 0;
  private order: 'le' | 'be' | undefined;

  constructor(private readonly encoding: 'utf-16' | 'utf-16le' | 'utf-16be') {}

  push(chunk: Buffer): string {
    const bytes = this.carry.length === 0 ? chunk : Buffer.concat([this.carry, chunk]);
    this.carry = bytes;
    return this.order === undefined && bytes.length < TELLING ? '' : this.take(bytes);
  }

  end(): string {
    const text = this.take(this.carry);
    if (this.carry.length > 0) throw new NotText(this.before, OTHER);
    return text;
  }

  private take(bytes: Buffer): string {
    const mark = this.order === undefined ? this.begin(bytes) : 0;
    const units = unitsOf(bytes.subarray(mark), this.order!);
    const ends = /[\ud800-\udbff]$/.test(units);
    const text = ends ? units.slice(0, -1) : units;
    this.check(text, mark);
    const used = mark + 2 * text.length;
    this.before += used;
    this.carry = Buffer.from(bytes.subarray(used));
    return text;
  }

  private check(text: string, mark: number): void {
    const lone = text.search(/\p{Surrogate}/u);
    const zero = text.indexOf('\0');
    const wrong = [lone, zero].filter((at) => at >= 0);
    if (wrong.length > 0) throw new NotText(this.before + mark + 2 * Math.min(...wrong), OTHER);
  }

  /** Detects the byte order; returns the number of bytes of the mark. */
  private begin(bytes: Buffer): 0 | 2 {
    if (bytes.length === 0) return this.settle('le', 0);
    const mark =
      bytes[0] === 0xff && bytes[1] === 0xfe ? 'le' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'be' : undefined;
    const said = this.encoding === 'utf-16' ? mark : this.encoding === 'utf-16le' ? 'le' : 'be';
    const utf8 = bytes.subarray(0, wholeCharacters(bytes));
    if (mark === undefined && utf8.length >= TELLING && firstWrong(utf8) < 0) throw new NotText(0, IS_UTF8);
    if (said === undefined) throw new NotText(0, NO_MARK);
    if (mark !== undefined && mark !== said) {
      throw new NotText(0, { what: `UTF-16 of the opposite byte order`, remedy: `Use --encoding utf-16${mark}.` });
    }
    return this.settle(said, mark === undefined ? 0 : 2);
  }

  private settle(order: 'le' | 'be', mark: 0 | 2): 0 | 2 {
    this.order = order;
    return mark;
  }
}

/** Complete code units. */
function unitsOf(bytes: Buffer, order: 'le' | 'be'): string {
  const even = bytes.subarray(0, bytes.length & ~1);
  return (order === 'le' ? even : Buffer.from(even).swap16()).toString('utf16le');
}

/** What invalid bytes look like, and the remedy. */
interface Guess {
  /** As in "it looks like …". */
  readonly what: string;
  readonly remedy: string;
}

const convertRemedy = (flag: string, iconv: string) =>
  `Read it with --encoding ${flag}, or convert it: iconv -f ${iconv} -t utf-8.`;

/** First bytes of files that are not text. */
const SIGNATURES: readonly (readonly [bytes: readonly number[], what: string, remedy: string])[] = [
  [[0x1f, 0x8b], 'a gzip-compressed file', 'Give it a name ending in .gz, such as .jsonl.gz or .txt.gz.'],
  [
    [0x28, 0xb5, 0x2f, 0xfd],
    'a Zstandard-compressed file',
    'Give it a name ending in .zst, such as .jsonl.zst or .txt.zst.',
  ],
  [[0x50, 0x41, 0x52, 0x31], 'a Parquet file', 'Give it a name ending in .parquet.'],
  [[0x50, 0x4b, 0x03, 0x04], 'a ZIP archive', 'Unpack it and give the files.'],
  [[0x42, 0x5a, 0x68], 'a bzip2-compressed file', 'Unpack it: bunzip2.'],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a], 'an xz-compressed file', 'Unpack it: unxz.'],
  [[0x25, 0x50, 0x44, 0x46], 'a PDF file', 'Extract its text first: pdftotext.'],
  [[0xff, 0xfe, 0, 0], 'UTF-32', 'Convert it: iconv -f utf-32 -t utf-8.'],
  [[0xff, 0xfe], 'UTF-16 (little-endian)', convertRemedy('utf-16', 'utf-16')],
  [[0xfe, 0xff], 'UTF-16 (big-endian)', convertRemedy('utf-16', 'utf-16')],
];

const BINARY_DATA: Guess = { what: 'binary data', remedy: 'Give text: .jsonl, .txt or .parquet.' };

const MIXED: Guess = {
  what: 'UTF-8 in some places and another encoding in others',
  remedy: 'Convert what is not UTF-8.',
};
const OTHER_ALPHABET: Guess = {
  what: 'an encoding of another alphabet, such as GB18030, Shift_JIS, EUC-KR or KOI8-R',
  remedy: 'Convert it from its encoding: iconv -f gb18030 -t utf-8.',
};

/**
 * Guesses the encoding of a file that is not valid UTF-8.
 *
 * @param head its first bytes, a few KiB
 * @param at bytes from the first invalid one on
 */
export function guessEncoding(head: Uint8Array, at: Uint8Array): Guess {
  const known = SIGNATURES.find(([bytes]) => bytes.every((byte, i) => head[i] === byte));
  if (known) return { what: known[1], remedy: known[2] };
  const inUnits = wide(head) ?? wide(at);
  if (inUnits) return inUnits;
  if (isBinary(head) || isBinary(at)) return wideScript(head) ?? BINARY_DATA;
  return narrow([head, at]);
}

/** Min bytes to distinguish a pattern from chance. */
const TELLING_SAMPLE = 8;

const littleEndian = (): Guess => ({ what: 'UTF-16 (little-endian)', remedy: convertRemedy('utf-16le', 'utf-16le') });
const bigEndian = (): Guess => ({ what: 'UTF-16 (big-endian)', remedy: convertRemedy('utf-16be', 'utf-16be') });

/** UTF-16 without a byte order mark: in most texts, many of the even or odd bytes are 0. */
function wide(bytes: Uint8Array): Guess | undefined {
  const zeros = [0, 0];
  for (let i = 0; i < bytes.length; i++) if (bytes[i] === 0) zeros[i % 2]!++;
  const [even, odd] = zeros as [number, number];
  if (
    bytes.length < TELLING_SAMPLE ||
    Math.max(even, odd) < bytes.length / 8 ||
    Math.min(even, odd) > Math.max(even, odd) / 8
  )
    return undefined;
  return odd > even ? littleEndian() : bigEndian();
}

/** UTF-16 of a non-Latin script: nearly all units are common characters in one byte order, and not in the other. */
function wideScript(bytes: Uint8Array): Guess | undefined {
  const units = bytes.length >> 1;
  const ascii = bytes.reduce((count, byte) => count + (byte >= 0x20 && byte < 0x7f ? 1 : 0), 0);
  if (bytes.length < TELLING_SAMPLE || ascii > 0.8 * bytes.length) return undefined;
  let [little, big] = [0, 0];
  for (let i = 0; i < units; i++) {
    const [first, second] = [bytes[2 * i]!, bytes[2 * i + 1]!];
    if (isCommon(first | (second << 8))) little++;
    if (isCommon(second | (first << 8))) big++;
  }
  if (Math.max(little, big) < 0.95 * units || Math.min(little, big) > 0.8 * units) return undefined;
  return little > big ? littleEndian() : bigEndian();
}

/** Characters of scripts in use: Latin to Thai, punctuation, kana, Han, Hangul, full-width forms. */
function isCommon(unit: number): boolean {
  if (unit < 0x20) return unit >= 0x09 && unit <= 0x0d;
  if (unit < 0xe80 || (unit >= 0x2000 && unit < 0x2070)) return true;
  if (unit >= 0x3000 && unit < 0x3100) return true;
  return (unit >= 0x4e00 && unit < 0xa000) || (unit >= 0xac00 && unit < 0xd7b0) || unit >= 0xff00;
}

/** Contains zero bytes, or more control characters than text does. */
function isBinary(bytes: Uint8Array): boolean {
  let controls = 0;
  for (const byte of bytes) {
    if (byte === 0) return true;
    if (byte < 0x20 && !(byte >= 0x09 && byte <= 0x0d) && byte !== 0x1b) controls++;
  }
  return controls > bytes.length / 32;
}

const isLetter = (byte: number) => (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;

/** A single-byte encoding, or UTF-8 with a few damaged bytes. */
function narrow(samples: readonly Uint8Array[]): Guess {
  let [sequences, invalid, c1, letters] = [0, 0, 0, 0];
  for (const bytes of samples) {
    for (let i = 0; i < bytes.length; ) {
      const length = sequenceLength(bytes, i);
      if (length > 1) sequences++;
      else if (length === 1 && isLetter(bytes[i]!)) letters++;
      else if (length === 0) {
        invalid++;
        if (bytes[i]! < 0xa0) c1++;
      }
      i += Math.max(1, length);
    }
  }
  if (sequences > 2 * invalid) {
    return { what: 'UTF-8 with damaged bytes', remedy: 'Drop them: iconv -f utf-8 -t utf-8 -c.' };
  }
  // Latin-1 languages are mostly ASCII, apart from accents; any other encoding would be read as garbage without an
  // error.
  if (2 * (invalid + sequences) > letters) return OTHER_ALPHABET;
  if (4 * sequences > invalid) return MIXED;
  return c1 > 0
    ? { what: 'Windows-1252', remedy: convertRemedy('windows-1252', 'windows-1252') }
    : { what: 'Latin-1', remedy: convertRemedy('latin-1', 'latin1') };
}

/** Length of the valid UTF-8 sequence at `i`; 0 if there is none. The Unicode Standard, table 3-7. */
function sequenceLength(bytes: Uint8Array, i: number): number {
  const lead = bytes[i]!;
  if (lead < 0x80) return 1;
  const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length === 0 || i + length > bytes.length) return 0;
  const second = bytes[i + 1]!;
  const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (let k = 2; k < length; k++) if (bytes[i + k]! >> 6 !== 0b10) return 0;
  return length;
}

/** Oddities of a file that did not prevent reading it; reported once it is closed. */
export class Remarks {
  /** Documents whose text is null. */
  private nulls = 0;
  /** Unpaired surrogates, each read as U+FFFD. */
  private halves = 0;
  private firstHalf = '';

  constructor(
    private readonly file: string,
    private readonly textField: string,
  ) {}

  addNull(): void {
    this.nulls++;
  }

  /**
   * The text with every unpaired surrogate replaced by U+FFFD: UTF-8, and therefore a tokenizer, cannot represent them.
   */
  wellFormed(text: string, source: string): string {
    if (!LONE.test(text)) return text;
    return text.replace(LONES, () => {
      if (this.halves++ === 0) this.firstHalf = source;
      return '\ufffd';
    });
  }

  *lines(): Generator<string> {
    if (this.nulls > 0) {
      yield `${this.file}: ${withCount(this.nulls, 'document')} with null in "${this.textField}" skipped`;
    }
    if (this.halves > 0) {
      yield `${this.file}: ${withCount(this.halves, 'unpaired surrogate escape')} read as U+FFFD, the first at ${this.firstHalf}`;
    }
  }
}

const LONE = /\p{Surrogate}/u;
const LONES = /\p{Surrogate}/gu;
const withCount = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`;
