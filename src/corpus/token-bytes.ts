import { isJsonObject } from '../disk/json.js';
import { bytesByCharacter, isByteLevel, piecesOf, WORD_START } from './token-texts.js';
import { readTokenizerFile } from './tokenizer.js';

/** The bytes of UTF-8 that a token writes into a text; of a special token those of its name. */
export type TokenBytes = (id: number) => Uint8Array;

const NOTHING = new Uint8Array(0);
const UTF8 = new TextEncoder();

/**
 * What every token of a model writes, so that a text can be put together as its tokens come: of one character, several
 * tokens may write a byte each. A number without a token writes nothing.
 *
 * @param directory of the model
 * @throws Refusal where tokenizer.json is missing or broken
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

/** A piece of SentencePiece: text, or a byte that no piece has the text of. */
function ofPiece(piece: string): Uint8Array {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(piece);
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : UTF8.encode(piece.replaceAll(WORD_START, ' '));
}

/** A token of characters that stand for a byte each. */
function byCharacters(table: ReadonlyMap<string, number>): (token: string) => Uint8Array {
  return (token) => {
    const found = [...token].map((character) => table.get(character));
    return found.includes(undefined) ? UTF8.encode(token) : Uint8Array.from(found as number[]);
  };
}

/** Text that comes token by token; a character appears with the last of its bytes. */
export class StreamedText {
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(private readonly bytes: TokenBytes) {}

  push(id: number): string {
    return this.decoder.decode(this.bytes(id), { stream: true });
  }

  /** What is left: a replacement character for bytes that came to no character. */
  end(): string {
    return this.decoder.decode();
  }
}
