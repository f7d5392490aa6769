import { isJsonObject } from '../disk/json.js';
import { bytesByCharacter, isByteLevel, piecesOf, WORD_START } from './token-texts.js';
import { readTokenizerFile } from './tokenizer.js';

/** The UTF-8 bytes that a token adds to a text; for a special token, those of its name. */
export type TokenBytes = (id: number) => Uint8Array;

const NOTHING = new Uint8Array(0);
const UTF8 = new TextEncoder();

/**
 * The bytes of every token of a model, for assembling text as tokens arrive: several tokens may each contribute one
 * byte of a character. An id without a token contributes nothing.
 *
 * @param directory the model's
 * @throws Refusal if tokenizer.json is missing or damaged
 */
export async function tokenBytes(directory: string): Promise<TokenBytes> {
  const file = await readTokenizerFile(directory, 'tokenizer.json');
  const { model, added_tokens: added } = isJsonObject(file) ? file : {};
  const bytes = new Map<number, Uint8Array>();
  const written = isByteLevel(file) ? byCharacters(bytesByCharacter()) : ofPiece;
  for (const [token, id] of piecesOf(isJsonObject(model) ? model.vocab : undefined)) bytes.set(id, written(token));
  for (const one of Array.isArray(added) ? added : []) {
    const { id, content, special } = isJsonObject(one) ? one : {};
    if (typeof content !== 'string' || typeof id !== 'number') continue;
    bytes.set(id, UTF8.encode(special === true ? content : content.replaceAll(WORD_START, ' ')));
  }
  return (id) => bytes.get(id) ?? NOTHING;
}

/** A SentencePiece piece: text, or a byte for characters that no piece has. */
function ofPiece(piece: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(piece);
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : UTF8.encode(piece.replaceAll(WORD_START, ' '));
}

/** A token of characters that represent one byte each. */
function byCharacters(table: ReadonlyMap<string, number>): (token: string) => Uint8Array {
  return (token) => {
    const found = [...token].map((character) => table.get(character));
    return found.includes(undefined) ? UTF8.encode(token) : Uint8Array.from(found as number[]);
  };
}

/** Text assembled token by token; a character appears with the last of its bytes. */
export class StreamedText {
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(private readonly bytes: TokenBytes) {}

  push(id: number): string {
    return this.decoder.decode(this.bytes(id), { stream: true });
  }

  /** The rest: a replacement character for an incomplete character. */
  end(): string {
    return this.decoder.decode();
  }
}
