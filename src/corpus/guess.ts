/** What bytes that are not text in the encoding asked for look like, and what to do about it. */
export interface Guess {
  /** As in "it looks like …". */
  readonly what: string;
  readonly remedy: string;
}

const convert = (flag: string, iconv: string) =>
  `Read it with --encoding ${flag}, or convert it: iconv -f ${iconv} -t utf-8.`;

/** First bytes of files that are not text. */
const SIGNATURES: readonly (readonly [bytes: readonly number[], what: string, remedy: string])[] = [
  [[0x1f, 0x8b], 'a gzip-compressed file', 'Let its name end in .gz, such as .jsonl.gz or .txt.gz.'],
  [
    [0x28, 0xb5, 0x2f, 0xfd],
    'a Zstandard-compressed file',
    'Let its name end in .zst, such as .jsonl.zst or .txt.zst.',
  ],
  [[0x50, 0x41, 0x52, 0x31], 'a Parquet file', 'Let its name end in .parquet.'],
  [[0x50, 0x4b, 0x03, 0x04], 'a ZIP archive', 'Unpack it and give the files.'],
  [[0x42, 0x5a, 0x68], 'a bzip2-compressed file', 'Unpack it: bunzip2.'],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a], 'an xz-compressed file', 'Unpack it: unxz.'],
  [[0x25, 0x50, 0x44, 0x46], 'a PDF file', 'Extract its text first: pdftotext.'],
  [[0xff, 0xfe, 0, 0], 'UTF-32', 'Convert it: iconv -f utf-32 -t utf-8.'],
  [[0xff, 0xfe], 'UTF-16 (little-endian)', convert('utf-16', 'utf-16')],
  [[0xfe, 0xff], 'UTF-16 (big-endian)', convert('utf-16', 'utf-16')],
];

const BINARY: Guess = { what: 'binary data', remedy: 'Give text: .jsonl, .txt or .parquet.' };

const MIXED: Guess = {
  what: 'UTF-8 in some places and another encoding in others',
  remedy: 'Convert what is not UTF-8.',
};
const OTHER: Guess = {
  what: 'an encoding of another alphabet, such as GB18030, Shift_JIS, EUC-KR or KOI8-R',
  remedy: 'Convert it from what it is: iconv -f gb18030 -t utf-8.',
};

/**
 * Guesses the encoding of a file that is not valid UTF-8.
 *
 * @param head its first bytes, some KiB
 * @param at bytes from the first invalid one on
 */
export function guessEncoding(head: Uint8Array, at: Uint8Array): Guess {
  const known = SIGNATURES.find(([bytes]) => bytes.every((byte, i) => head[i] === byte));
  if (known) return { what: known[1], remedy: known[2] };
  const inUnits = wide(head) ?? wide(at);
  if (inUnits) return inUnits;
  if (isBinary(head) || isBinary(at)) return wideScript(head) ?? BINARY;
  return narrow([head, at]);
}

/** Bytes from which on a pattern is told from chance. */
const TELLING = 8;

const littleEndian = (): Guess => ({ what: 'UTF-16 (little-endian)', remedy: convert('utf-16le', 'utf-16le') });
const bigEndian = (): Guess => ({ what: 'UTF-16 (big-endian)', remedy: convert('utf-16be', 'utf-16be') });

/** UTF-16 without a byte order mark: in most texts every other byte is often 0. */
function wide(bytes: Uint8Array): Guess | undefined {
  const zeros = [0, 0];
  for (let i = 0; i < bytes.length; i++) if (bytes[i] === 0) zeros[i % 2]!++;
  const [even, odd] = zeros as [number, number];
  if (bytes.length < TELLING || Math.max(even, odd) < bytes.length / 8 || Math.min(even, odd) > Math.max(even, odd) / 8)
    return undefined;
  return odd > even ? littleEndian() : bigEndian();
}

/** UTF-16 of a script beyond Latin: nearly all units are common characters in one byte order, and not in the other. */
function wideScript(bytes: Uint8Array): Guess | undefined {
  const units = bytes.length >> 1;
  const ascii = bytes.reduce((count, byte) => count + (byte >= 0x20 && byte < 0x7f ? 1 : 0), 0);
  if (bytes.length < TELLING || ascii > 0.8 * bytes.length) return undefined;
  let [little, big] = [0, 0];
  for (let i = 0; i < units; i++) {
    const [first, second] = [bytes[2 * i]!, bytes[2 * i + 1]!];
    if (isCommon(first | (second << 8))) little++;
    if (isCommon(second | (first << 8))) big++;
  }
  if (Math.max(little, big) < 0.95 * units || Math.min(little, big) > 0.8 * units) return undefined;
  return little > big ? littleEndian() : bigEndian();
}

/** Characters of living scripts: Latin to Thai, punctuation, kana, Han, Hangul, full-width forms. */
function isCommon(unit: number): boolean {
  if (unit < 0x20) return unit >= 0x09 && unit <= 0x0d;
  if (unit < 0xe80 || (unit >= 0x2000 && unit < 0x2070)) return true;
  if (unit >= 0x3000 && unit < 0x3100) return true;
  return (unit >= 0x4e00 && unit < 0xa000) || (unit >= 0xac00 && unit < 0xd7b0) || unit >= 0xff00;
}

/** Zero bytes, or more control characters than text has. */
function isBinary(bytes: Uint8Array): boolean {
  let controls = 0;
  for (const byte of bytes) {
    if (byte === 0) return true;
    if (byte < 0x20 && !(byte >= 0x09 && byte <= 0x0d) && byte !== 0x1b) controls++;
  }
  return controls > bytes.length / 32;
}

const isLetter = (byte: number) => (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;

/** One byte per character, or UTF-8 in which a few bytes are damaged. */
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
    return { what: 'UTF-8 in which bytes are damaged', remedy: 'Drop them: iconv -f utf-8 -t utf-8 -c.' };
  }
  // Languages of Latin-1 are written in ASCII, accents aside; read so, any other encoding is garbage without an error.
  if (2 * (invalid + sequences) > letters) return OTHER;
  if (4 * sequences > invalid) return MIXED;
  return c1 > 0
    ? { what: 'Windows-1252', remedy: convert('windows-1252', 'windows-1252') }
    : { what: 'Latin-1', remedy: convert('latin-1', 'latin1') };
}

/** Bytes of the valid UTF-8 sequence at `i`; 0 where there is none. The Unicode Standard, table 3-7. */
export function sequenceLength(bytes: Uint8Array, i: number): number {
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
