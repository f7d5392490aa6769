import type { Encoding } from '../config/choices.js';
import { Refusal } from '../config/refusal.js';
import { decoderOf, NotText } from './decoders.js';
import { type Packing, unpacked } from './unpacked.js';

/**
 * The text of a file in pieces of at most about 128 Ki characters, none of which ends in a high surrogate; a byte order
 * mark at its beginning is left out.
 *
 * @throws Refusal naming the first byte that is not text in this encoding, and the encoding that it looks like
 */
export async function* textOf(file: string, packing: Packing, encoding: Encoding): AsyncGenerator<string> {
  const decoder = decoderOf(encoding);
  try {
    for await (const bytes of unpacked(file, packing)) {
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
      `${file} is not valid ${NAMES[encoding]} at byte ${cause.at}${unpackedText}; it looks like ${what}.`,
      remedy,
      { cause },
    );
  }
}

const NAMES: Record<Encoding, string> = {
  'utf-8': 'UTF-8',
  'utf-16': 'UTF-16',
  'utf-16le': 'UTF-16LE',
  'utf-16be': 'UTF-16BE',
  'latin-1': 'Latin-1 text',
  'windows-1252': 'Windows-1252 text',
};
