import { isJsonObject } from '../disk/json.js';
import { Refusal } from '../errors/refusal.js';
import type { Document } from './contexts.js';
import type { Remarks } from './encodings.js';
import { fileBegin } from './text-position.js';

/** Max characters of a line held in memory. */
const SHORT_LINE = 2 ** 20;
/** Characters of a longer line processed at a time, and max characters per piece of its text. */
const LONGEST_PIECE = 2 ** 18;
/** Max characters of a key in a message. */
const KEY_SHOWN = 60;

/**
 * Documents of JSON Lines, one per line. Lines end in LF or CR LF. (Node's readline also splits lines at U+2028, which
 * JSON strings may contain.) A line longer than `short` is never held in memory: its text is passed on as it is read.
 *
 * @param text of the file, in pieces
 * @param begin position at which `text` starts
 * @throws Refusal naming file and line, caused by a BadLine
 */
export async function* jsonLines(
  file: string,
  text: AsyncGenerator<string>,
  textField: string,
  remarks: Remarks,
  short = SHORT_LINE,
  begin = fileBegin(),
): AsyncGenerator<Document> {
  const lines = new LinesOfText(text, begin);
  try {
    for (let { row } = begin; await lines.more(); row++) {
      const source = `${file}:${row + 1}`;
      const place = { row, byte: lines.byte };
      const line = await lines.take(short);
      if (line === undefined) yield* longLine(lines, { source, place }, textField, remarks);
      else {
        const document = shortLine(line, source, textField, remarks);
        if (document !== undefined) yield { pieces: [document], source, place };
      }
    }
  } finally {
    await text.return(undefined);
  }
}

/** The text of a line; undefined if there is none to read. */
function shortLine(line: string, source: string, textField: string, remarks: Remarks): string | undefined {
  const text = valueOfLine(line, source, textField, 'text-field', isText);
  if (text === null) {
    remarks.addNull();
    return undefined;
  }
  return text === undefined ? undefined : remarks.wellFormed(text, source);
}

const isText = (value: unknown) => typeof value === 'string';

/**
 * The value of a key in a line: null if it is null, undefined if the line is empty.
 *
 * @param flag flag that names the key
 * @param isWanted whether a value has the right type
 * @throws Refusal if the line is not JSON, or has no value of that type under the key
 */
export function valueOfLine<T>(
  line: string,
  source: string,
  field: string,
  flag: FieldFlag,
  isWanted: (value: unknown) => value is T,
): T | null | undefined {
  if (/^[ \t\r]*$/.test(line)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw refusedLine(new BadLine({ kind: 'not JSON' }, cause), source, field, flag);
  }
  const found = isJsonObject(value) && Object.hasOwn(value, field) ? value[field] : undefined;
  if (found === null || (found !== undefined && isWanted(found))) return found;
  const keys = isJsonObject(value) ? Object.keys(value) : [];
  throw refusedLine(new BadLine({ kind: 'no text', keys }), source, field, flag);
}

/** Flags that name keys. */
type FieldFlag = 'text-field' | 'chat-field' | 'ids-field';

async function* longLine(
  lines: LinesOfText,
  { source, place }: Pick<Document, 'source' | 'place'>,
  textField: string,
  remarks: Remarks,
): AsyncGenerator<Document> {
  const machine = new LongLine(textField);
  let over = false;
  const checked = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      throw cause instanceof BadLine ? refusedLine(cause, source, textField) : cause;
    }
  };
  /**
   * Reads on until the text begins or ends, or the line ends, or some text is available; false once the line is over.
   */
  const advance = async () => {
    if (!over) over = !(await checked(() => lines.feed(machine)));
    return !over;
  };
  while (machine.text === 'before' && (await advance()));
  if (machine.text === 'within') {
    const pieces = textPieces(machine, advance, (piece) => remarks.wellFormed(piece, source));
    yield { pieces, source, place };
    // If the caller did not read it to the end, continue with the next line.
    for await (const _ of pieces);
    while (machine.text === 'within' && (await advance())) machine.take();
  }
  machine.take();
  while (await advance());
  await checked(async () => machine.end());
  if (machine.isNull) remarks.addNull();
}

async function* textPieces(
  machine: LongLine,
  advance: () => Promise<boolean>,
  wellFormed: (piece: string) => string,
): AsyncGenerator<string> {
  let half = '';
  for (let within = true; within; ) {
    within = machine.text === 'within' && (await advance());
    const piece = half + machine.take();
    half = within && /[\ud800-\udbff]$/.test(piece) ? piece.slice(-1) : '';
    const whole = wellFormed(half === '' ? piece : piece.slice(0, -1));
    if (whole !== '') yield whole;
  }
}

/**
 * @param field key that was looked for
 * @param flag flag that names it
 */
function refusedLine(cause: BadLine, source: string, field: string, flag: FieldFlag = 'text-field'): Refusal {
  const { fault } = cause;
  switch (fault.kind) {
    case 'not JSON':
      return new Refusal(`${source} is not JSON.`, 'JSON Lines have one JSON object per line.', 'corpus/not-json', {
        cause,
      });
    case 'twice':
      return new Refusal(`${source} has "${field}" twice.`, 'Keep one of them.', 'corpus/text-twice', { cause });
    case 'too deep':
      return new Refusal(
        `${source} is nested too deeply.`,
        'Remove deeply nested values from the line.',
        'corpus/nested-too-deeply',
        { cause },
      );
    default: {
      const shown = fault.keys.slice(0, KEYS_SHOWN).map((key) => key.slice(0, KEY_SHOWN));
      const keys = shown.length > 0 ? shown.join(', ') : 'no keys';
      return new Refusal(
        `${source} has no ${flag === 'text-field' ? 'text' : 'list'} in "${field}" (it has: ${keys}).`,
        `Give the key with --${flag}.`,
        'corpus/no-text',
        { cause },
      );
    }
  }
}

/** Splits text that arrives in pieces into lines. */
export class LinesOfText {
  /** Received but not yet consumed. */
  private chunk = '';
  private at = 0;
  /** Bytes consumed before `chunk`, and the offset in `chunk` up to which they are counted. */
  private bytes = 0;
  private counted = 0;

  /** @param begin position at which the text starts */
  constructor(
    private readonly text: AsyncGenerator<string>,
    private readonly begin = fileBegin(),
  ) {}

  /** UTF-8 bytes before the current line. */
  get byte(): number {
    this.count();
    return this.begin.byte + this.bytes;
  }

  /** Chunks, and text consumed up to a line end, consist of complete characters. */
  private count(): void {
    this.bytes += Buffer.byteLength(this.chunk.slice(this.counted, this.at));
    this.counted = this.at;
  }

  /** Is there another line? */
  async more(): Promise<boolean> {
    while (this.at === this.chunk.length) {
      const { value, done } = await this.text.next();
      if (done) return false;
      this.count();
      this.chunk = value;
      this.at = 0;
      this.counted = 0;
    }
    return true;
  }

  /** The current line without its line end; undefined, with nothing consumed, if it is longer than `most`. */
  async take(most: number): Promise<string | undefined> {
    // A line of many pieces must not be searched from its start with each piece.
    const pieces: string[] = [];
    let length = 0;
    this.count();
    const { bytes } = this;
    for (;;) {
      const end = this.chunk.indexOf('\n', this.at);
      const piece = this.chunk.slice(this.at, end < 0 ? undefined : end);
      pieces.push(piece);
      length += piece.length;
      if (length > most) {
        this.chunk = pieces.join('') + this.chunk.slice(this.at + piece.length);
        this.at = 0;
        this.counted = 0;
        this.bytes = bytes;
        return undefined;
      }
      this.at += piece.length;
      if (end >= 0) {
        this.at++;
        return pieces.join('');
      }
      if (!(await this.more())) return pieces.join('');
    }
  }

  /** Feeds the current line to `machine` as far as it goes; false once the line is over. */
  async feed(machine: LongLine): Promise<boolean> {
    if (!(await this.more())) return false;
    const end = this.chunk.indexOf('\n', this.at);
    if (end === this.at) {
      this.at++;
      return false;
    }
    const most = this.at + LONGEST_PIECE;
    const line = this.chunk.slice(this.at, end < 0 ? most : Math.min(end, most));
    this.at += machine.push(line, 0);
    return true;
  }
}

/** Why a line is unusable. */
type LineFault =
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

/** Max keys listed in a message. */
const KEYS_SHOWN = 20;
/** Max characters kept of a key or number; a longer key keeps its beginning and a mark that it is longer. */
const KEPT_BYTES = 65_536;
/** Max nesting of objects and lists. */
const DEEPEST_VALUE = 10_000;
const ESCAPES: Readonly<Record<string, string>> = {
  ...{ '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' },
};
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const JSON_WORDS = new Set(['true', 'false', 'null']);

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
 * Reads a line too long to hold in memory: consumes its characters piece by piece, checks that it is JSON (RFC 8259),
 * and returns the string under one key of its outermost object as it arrives. Equivalent to JSON.parse, except that a
 * repeated key is refused: its first text has already been passed on.
 */
class LongLine {
  /** Has the text started, and ended? */
  text: 'before' | 'within' | 'after' = 'before';
  /** The key's value is null instead of a text. */
  isNull = false;
  /** Only white space so far. */
  empty = true;
  private state: State = 'value';
  /** For every enclosing object or list: is it an object? */
  private readonly around: boolean[] = [];
  private readonly keys: string[] = [];
  private role: 'key' | 'text' | 'other' = 'other';
  /** The current key, number or word. */
  private held = '';
  private hex = '';
  private out: string[] = [];
  /** The next value is that of the wanted key. */
  private wanted = false;

  constructor(private readonly field: string) {}

  /** Pieces of the text since the last call. */
  take(): string {
    const text = this.out.join('');
    this.out = [];
    return text;
  }

  /**
   * Consumes characters from `from` on, up to the text's opening or closing quote or the end of `chunk`, which contains
   * no line feed.
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

  /** Call at the end of the line. @throws BadLine */
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
      if (this.around.length === DEEPEST_VALUE) throw new BadLine({ kind: 'too deep' });
      this.around.push(character === '{');
      this.state = character === '{' ? 'first key' : 'first element';
    } else {
      // Of the possible values of the wanted key, only null ends here.
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
    // A quote, a backslash, or a control character, which strings may only contain escaped.
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
    else if (this.role === 'key' && this.held.length < KEPT_BYTES) this.held += text;
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
    if (this.held.length > KEPT_BYTES) throw notJson();
    if (to < chunk.length) this.wordEnds();
    return to;
  }

  private wordEnds(): void {
    if (!JSON_WORDS.has(this.held) && !JSON_NUMBER.test(this.held)) throw notJson();
    this.valueEnds();
  }

  private noText(): BadLine {
    return new BadLine({ kind: 'no text', keys: this.keys });
  }
}

const isSpace = (character: string) =>
  character === ' ' || character === '\t' || character === '\r' || character === '\n';
const notJson = () => new BadLine({ kind: 'not JSON' });
