import { isUtf8 } from 'node:buffer';
import type { Encoding } from '../config/choices.js';
import { type Guess, guessEncoding, sequenceLength } from './guess.js';

/** Bytes that are not text in the encoding; `at` counts from the first byte of all. */
export class NotText extends Error {
  constructor(
    readonly at: number,
    readonly guess: Guess,
  ) {
    super(`not text at byte ${at}`);
  }
}

/** Turns bytes into text, chunk by chunk. No text that it gives ends in a high surrogate. */
export interface Decoder {
  /** @throws NotText */
  push(bytes: Buffer): string;
  /** The text that was waiting for more bytes. @throws NotText where they end within a character */
  end(): string;
}

/** Bytes of the beginning, by which an encoding is guessed. */
const HEAD = 4096;
const NOTHING = Buffer.alloc(0);

/** Of a file's bytes from the first one; a byte order mark at the beginning is left out. */
export function decoderOf(encoding: Encoding): Decoder {
  switch (encoding) {
    case 'utf-8':
      return new Utf8();
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
  /** Bytes before the carried ones. */
  private before = 0;
  private begun = false;

  push(chunk: Buffer): string {
    const bytes = this.carry.length === 0 ? chunk : Buffer.concat([this.carry, chunk]);
    if (this.before === 0) this.head = Buffer.from(bytes.subarray(0, HEAD));
    const end = wholeCharacters(bytes);
    const whole = bytes.subarray(0, end);
    const wrong = firstWrong(whole);
    if (wrong >= 0) throw this.notText(bytes, wrong);
    this.carry = Buffer.from(bytes.subarray(end));
    this.before += end;
    const text = whole.toString('utf8');
    const first = !this.begun && text !== '';
    this.begun ||= first;
    return first && text.startsWith('\ufeff') ? text.slice(1) : text;
  }

  end(): string {
    if (this.carry.length > 0) throw this.notText(this.carry, 0);
    return '';
  }

  private notText(bytes: Buffer, at: number): NotText {
    return new NotText(this.before + at, guessEncoding(this.head, bytes.subarray(at)));
  }
}

/** Bytes up to the last character, which may go on in the next chunk. */
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
 * The first byte that is not UTF-8; −1 where there is none.
 *
 * @param zeros count as such, too: a file of text has none, and UTF-16 is full of them
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

/** Of 0x80 … 0x9f in Windows-1252; 0: not a character. https://encoding.spec.whatwg.org/index-windows-1252.txt */
const C1 = [
  ...[0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017d, 0],
  ...[
    0, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e,
    0x0178,
  ],
];
const OTHER: Guess = { what: 'another encoding or binary data', remedy: 'Name the right --encoding, or give text.' };

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
  remedy: 'Say which it is: --encoding utf-16le or --encoding utf-16be.',
};
const IS_UTF8: Guess = { what: 'UTF-8', remedy: 'Leave --encoding out.' };
/** Bytes that would hardly be UTF-8 without a zero byte by chance, were they UTF-16. */
const TELLING = 32;

class Utf16 implements Decoder {
  private carry: Buffer = NOTHING;
  /** Bytes before the carried ones. */
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

  /** Finds the order of bytes; how many the mark takes. */
  private begin(bytes: Buffer): 0 | 2 {
    if (bytes.length === 0) return this.settle('le', 0);
    const mark =
      bytes[0] === 0xff && bytes[1] === 0xfe ? 'le' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'be' : undefined;
    const said = this.encoding === 'utf-16' ? mark : this.encoding === 'utf-16le' ? 'le' : 'be';
    const utf8 = bytes.subarray(0, wholeCharacters(bytes));
    if (mark === undefined && utf8.length >= TELLING && firstWrong(utf8) < 0) throw new NotText(0, IS_UTF8);
    if (said === undefined) throw new NotText(0, NO_MARK);
    if (mark !== undefined && mark !== said) {
      throw new NotText(0, { what: `UTF-16 of the other byte order`, remedy: `Say --encoding utf-16${mark}.` });
    }
    return this.settle(said, mark === undefined ? 0 : 2);
  }

  private settle(order: 'le' | 'be', mark: 0 | 2): 0 | 2 {
    this.order = order;
    return mark;
  }
}

/** Whole code units. */
function unitsOf(bytes: Buffer, order: 'le' | 'be'): string {
  const even = bytes.subarray(0, bytes.length & ~1);
  return (order === 'le' ? even : Buffer.from(even).swap16()).toString('utf16le');
}
