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
  [[0xff, 0xfe], 'UTF-16 (little-endian)', convert('utf-16', 'utf-16')],
  [[0xfe, 0xff], 'UTF-16 (big-endian)', convert('utf-16', 'utf-16')],
];

const BINARY: Guess = { what: 'binary data', remedy: 'Give text: .jsonl, .txt or .parquet.' };

/**
 * Guesses the encoding of a file that is not valid UTF-8.
 *
 * @param head its first bytes, some KiB
 * @param at bytes from the first invalid one on
 */
export function guessEncoding(head: Uint8Array, at: Uint8Array): Guess {
  const known = SIGNATURES.find(([bytes]) => bytes.every((byte, i) => head[i] === byte));
  if (known) return { what: known[1], remedy: known[2] };
  return wide(head) ?? wide(at) ?? (isBinary(head) || isBinary(at) ? BINARY : narrow(at));
}

/** Bytes from which on a pattern is told from chance. */
const TELLING = 8;

/** UTF-16 without a byte order mark: in most texts every other byte is often 0. */
function wide(bytes: Uint8Array): Guess | undefined {
  const zeros = [0, 0];
  for (let i = 0; i < bytes.length; i++) if (bytes[i] === 0) zeros[i % 2]!++;
  const [even, odd] = zeros as [number, number];
  if (bytes.length < TELLING || Math.max(even, odd) < bytes.length / 8 || Math.min(even, odd) > Math.max(even, odd) / 8)
    return undefined;
  return odd > even
    ? { what: 'UTF-16 (little-endian)', remedy: convert('utf-16le', 'utf-16le') }
    : { what: 'UTF-16 (big-endian)', remedy: convert('utf-16be', 'utf-16be') };
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

/** One byte per character, or UTF-8 in which a few bytes are damaged. */
function narrow(bytes: Uint8Array): Guess {
  let [sequences, invalid, c1] = [0, 0, 0];
  for (let i = 0; i < bytes.length; ) {
    const length = sequenceLength(bytes, i);
    if (length > 1) sequences++;
    else if (length === 0) {
      invalid++;
      if (bytes[i]! < 0xa0) c1++;
    }
    i += Math.max(1, length);
  }
  if (sequences > 2 * invalid) {
    return { what: 'UTF-8 in which bytes are damaged', remedy: 'Drop them: iconv -f utf-8 -t utf-8 -c.' };
  }
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
