import { isJsonObject } from '../disk/json.js';
import { readTokenizerFile } from './tokenizer.js';

/** Represents a space at the beginning of a word in SentencePiece vocabularies. */
export const WORD_START = '▁';

/**
 * Display text of every token of a model, by id: its text if its bytes are valid, and other bytes as <0xE2>. An id
 * without a token is shown as <token 17>.
 *
 * @param directory the model's
 * @param vocabulary rows of its embedding
 * @throws Refusal if tokenizer.json is missing or damaged
 */
export async function tokenTexts(directory: string, vocabulary: number): Promise<string[]> {
  const file = await readTokenizerFile(directory, 'tokenizer.json');
  const texts = Array.from({ length: vocabulary }, (_, id) => `<token ${id}>`);
  const { model, added_tokens: added } = isJsonObject(file) ? file : {};
  const shown = isByteLevel(file) ? textOfBytes(bytesByCharacter()) : textOfPiece;
  for (const [token, id] of piecesOf(isJsonObject(model) ? model.vocab : undefined)) {
    if (Number.isInteger(id) && id >= 0 && id < vocabulary) texts[id] = shown(token);
  }
  for (const one of Array.isArray(added) ? added : []) {
    const { id, content } = isJsonObject(one) ? one : {};
    if (typeof content === 'string' && typeof id === 'number' && id >= 0 && id < vocabulary) texts[id] = content;
  }
  return texts;
}

/** Tokens with their ids, from a table or a list of tokens with scores. */
export function piecesOf(vocab: unknown): [string, number][] {
  if (Array.isArray(vocab)) return vocab.map((piece, id) => [String(Array.isArray(piece) ? piece[0] : piece), id]);
  return isJsonObject(vocab) ? (Object.entries(vocab) as [string, number][]) : [];
}

const textOfPiece = (piece: string) => piece.replaceAll(WORD_START, ' ');

/** Does the tokenizer represent bytes as characters, like GPT-2's? Determined from its decoder or pre-tokenizer. */
export function isByteLevel(file: unknown): boolean {
  if (!isJsonObject(file)) return false;
  const steps = [file.decoder, file.pre_tokenizer].flatMap((step) =>
    isJsonObject(step) ? [step, ...[step.decoders, step.pretokenizers].flat()] : [],
  );
  return steps.some((step) => isJsonObject(step) && step.type === 'ByteLevel');
}

/** GPT-2's table: printable Latin-1 characters represent their own bytes, characters from U+0100 on the others. */
export function bytesByCharacter(): Map<string, number> {
  const bytes = new Map<string, number>();
  let beyond = 0;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    bytes.set(String.fromCharCode(printable ? byte : 256 + beyond++), byte);
  }
  return bytes;
}

/** A token of byte characters as text; invalid UTF-8 byte by byte. */
function textOfBytes(table: ReadonlyMap<string, number>): (token: string) => string {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const decoded = (bytes: Uint8Array) => {
    try {
      return decoder.decode(bytes);
    } catch {
      return undefined;
    }
  };
  return (token) => {
    const found = [...token].map((character) => table.get(character));
    if (found.includes(undefined)) return token;
    const bytes = Uint8Array.from(found as number[]);
    let text = decoded(bytes);
    if (text !== undefined) return text;
    text = '';
    for (let at = 0; at < bytes.length; ) {
      // The shortest valid character: 1 to 4 bytes.
      const length = [1, 2, 3, 4].find(
        (n) => at + n <= bytes.length && decoded(bytes.subarray(at, at + n)) !== undefined,
      );
      text += length
        ? decoded(bytes.subarray(at, at + length))
        : `<0x${bytes[at]!.toString(16).toUpperCase().padStart(2, '0')}>`;
      at += length ?? 1;
    }
    return text;
  };
}
