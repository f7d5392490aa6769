/** What makes a line unusable. */
export type LineFault =
  | { readonly kind: 'not JSON' }
  | { readonly kind: 'no text'; readonly keys: readonly string[] }
  | { readonly kind: 'twice' }
  | { readonly kind: 'too deep' };

export class BadLine extends Error {
  constructor(
    readonly fault: LineFault,
    cause?: unknown,
  ) {
    super(fault.kind, { cause });
  }
}

/** Keys that a message lists. */
export const KEYS_SHOWN = 20;
/** Characters of a key or number that are kept: of a longer key, its beginning and that it is longer. */
const KEPT = 65_536;
/** Objects and lists within one another, at most. */
const DEEPEST = 10_000;
const ESCAPES: Readonly<Record<string, string>> = {
  ...{ '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' },
};
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const WORDS = new Set(['true', 'false', 'null']);

type State =
  | 'value'
  | 'first element'
  | 'first key'
  | 'key'
  | 'colon'
  | 'after value'
  | 'string'
  | 'escape'
  | 'hex'
  | 'word'
  | 'end';

/**
 * Reads a line that is too long to be held: takes its characters piece by piece, checks that it is JSON (RFC 8259), and
 * gives the string under one key of its outermost object as it comes. It has the same results as JSON.parse, but for a
 * key that is there twice, which is refused: its first text has left by then.
 */
export class LongLine {
  /** Has the text begun, and ended? */
  text: 'before' | 'within' | 'after' = 'before';
  /** The key is there with null instead of a text. */
  isNull = false;
  /** Nothing but white space so far. */
  empty = true;
  private state: State = 'value';
  /** Of every object or list around the place: is it an object? */
  private readonly around: boolean[] = [];
  private readonly keys: string[] = [];
  private role: 'key' | 'text' | 'other' = 'other';
  /** The key, number or word under way. */
  private held = '';
  private hex = '';
  private out: string[] = [];
  /** The value that comes is that of the wanted key. */
  private wanted = false;

  constructor(private readonly field: string) {}

  /** The pieces of the text since the last call. */
  take(): string {
    const text = this.out.join('');
    this.out = [];
    return text;
  }

  /**
   * Takes characters from `from` on, as far as the text's first or last quote or the end of `chunk`, which has no line
   * feed.
   *
   * @returns where it stopped
   * @throws BadLine
   */
  push(chunk: string, from: number): number {
    const { text } = this;
    let at = from;
    while (at < chunk.length && this.text === text) {
      if (this.state === 'string') at = this.inString(chunk, at);
      else if (this.state === 'word') at = this.inWord(chunk, at);
      else {
        const character = chunk[at++]!;
        if (this.state === 'escape' || this.state === 'hex') this.escaped(character);
        else if (!isSpace(character)) this.structure(character);
      }
    }
    return at;
  }

  /** The line is over. @throws BadLine */
  end(): void {
    if (this.empty) return;
    if (this.state === 'word') this.wordEnds();
    if (this.state !== 'end') throw notJson();
    if (this.text === 'before' && !this.isNull) throw this.noText();
  }

  private structure(character: string): void {
    if (this.empty && character !== '{') throw this.noText();
    this.empty = false;
    const isObject = this.around.at(-1);
    if (this.state === 'colon' && character === ':') this.state = 'value';
    else if (this.state === 'after value' && character === ',') this.state = isObject ? 'key' : 'value';
    else if (this.state === 'after value' && character === (isObject ? '}' : ']')) this.close();
    else if (this.state === 'first key' && character === '}') this.close();
    else if (this.state === 'first element' && character === ']') this.close();
    else if (this.state === 'first key' || this.state === 'key') this.key(character);
    else if (this.state === 'first element' || this.state === 'value') this.value(character);
    else throw notJson();
  }

  private key(character: string): void {
    if (character !== '"') throw notJson();
    this.role = 'key';
    this.held = '';
    this.state = 'string';
  }

  private value(character: string): void {
    const { wanted } = this;
    this.wanted = false;
    if (wanted && character !== '"' && character !== 'n') throw this.noText();
    if (character === '"') {
      this.role = wanted ? 'text' : 'other';
      if (wanted) this.text = 'within';
      this.state = 'string';
    } else if (character === '{' || character === '[') {
      if (this.around.length === DEEPEST) throw new BadLine({ kind: 'too deep' });
      this.around.push(character === '{');
      this.state = character === '{' ? 'first key' : 'first element';
    } else {
      // Of a wanted value only null can come to an end.
      this.isNull ||= wanted;
      this.held = character;
      this.state = 'word';
    }
  }

  private close(): void {
    this.around.pop();
    this.valueEnds();
  }

  private valueEnds(): void {
    this.state = this.around.length === 0 ? 'end' : 'after value';
  }

  private inString(chunk: string, from: number): number {
    // A quote, a backslash, or a control character, which strings have escaped only.
    const special = /["\\]|[^\u0020-\uffff]/g;
    special.lastIndex = from;
    const found = special.exec(chunk);
    const to = found?.index ?? chunk.length;
    if (to > from) this.content(chunk.slice(from, to));
    if (!found) return to;
    if (found[0] === '\\') this.state = 'escape';
    else if (found[0] === '"') this.stringEnds();
    else throw notJson();
    return to + 1;
  }

  private content(text: string): void {
    if (this.role === 'text') this.out.push(text);
    else if (this.role === 'key' && this.held.length < KEPT) this.held += text;
  }

  private stringEnds(): void {
    if (this.role === 'text') this.text = 'after';
    if (this.role !== 'key') {
      this.valueEnds();
      return;
    }
    this.state = 'colon';
    if (this.around.length !== 1) return;
    if (this.keys.length < KEYS_SHOWN) this.keys.push(this.held);
    if (this.held !== this.field) return;
    if (this.text === 'after' || this.isNull) throw new BadLine({ kind: 'twice' });
    this.wanted = true;
  }

  private escaped(character: string): void {
    if (this.state === 'escape') {
      if (character === 'u') {
        this.state = 'hex';
        this.hex = '';
        return;
      }
      const meant = ESCAPES[character];
      if (meant === undefined) throw notJson();
      this.content(meant);
      this.state = 'string';
      return;
    }
    if (!/[0-9a-fA-F]/.test(character)) throw notJson();
    this.hex += character;
    if (this.hex.length < 4) return;
    this.content(String.fromCharCode(Number.parseInt(this.hex, 16)));
    this.state = 'string';
  }

  private inWord(chunk: string, from: number): number {
    const end = /[\s,\]}:"[{]/g;
    end.lastIndex = from;
    const to = end.exec(chunk)?.index ?? chunk.length;
    this.held += chunk.slice(from, to);
    if (this.held.length > KEPT) throw notJson();
    if (to < chunk.length) this.wordEnds();
    return to;
  }

  private wordEnds(): void {
    if (!WORDS.has(this.held) && !NUMBER.test(this.held)) throw notJson();
    this.valueEnds();
  }

  private noText(): BadLine {
    return new BadLine({ kind: 'no text', keys: this.keys });
  }
}

const isSpace = (character: string) =>
  character === ' ' || character === '\t' || character === '\r' || character === '\n';
const notJson = () => new BadLine({ kind: 'not JSON' });
