import { Refusal } from '../config/refusal.js';
import type { Document } from './documents.js';
import { BadLine, KEYS_SHOWN, LongLine } from './long-line.js';
import type { Remarks } from './remarks.js';

/** Characters of a line that is held whole, at most. */
export const SHORT_LINE = 2 ** 20;
/** Characters of a longer line that are taken at a time, and of a piece of its text, at most. */
const LONGEST_PIECE = 2 ** 18;
/** Characters of a key in a message. */
const KEY_SHOWN = 60;

/**
 * Documents of JSON Lines, one per line. Lines end in LF or CR LF. (Node's readline also ends lines at U+2028, which JSON
 * strings may hold.) A longer line than `short` is never held: its text passes through as it is read.
 *
 * @param text of the file, in pieces
 * @throws Refusal naming file and line, its cause a BadLine
 */
export async function* jsonLines(
  file: string,
  text: AsyncGenerator<string>,
  textField: string,
  remarks: Remarks,
  short = SHORT_LINE,
): AsyncGenerator<Document> {
  const lines = new Lines(text);
  try {
    for (let number = 1; await lines.more(); number++) {
      const source = `${file}:${number}`;
      const line = await lines.take(short);
      if (line === undefined) yield* longLine(lines, source, textField, remarks);
      else {
        const document = shortLine(line, source, textField, remarks);
        if (document !== undefined) yield { pieces: [document], source };
      }
    }
  } finally {
    await text.return(undefined);
  }
}

/** The text of a line; undefined where there is none to be read. */
function shortLine(line: string, source: string, textField: string, remarks: Remarks): string | undefined {
  if (/^[ \t\r]*$/.test(line)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw refused(new BadLine({ kind: 'not JSON' }, cause), source, textField);
  }
  const isObject = value !== null && typeof value === 'object' && !Array.isArray(value);
  const text =
    isObject && Object.hasOwn(value as object, textField) ? (value as Record<string, unknown>)[textField] : undefined;
  if (text === null) {
    remarks.addNull();
    return undefined;
  }
  if (typeof text === 'string') return remarks.wellFormed(text, source);
  throw refused(
    new BadLine({ kind: 'no text', keys: isObject ? Object.keys(value as object) : [] }),
    source,
    textField,
  );
}

async function* longLine(lines: Lines, source: string, textField: string, remarks: Remarks): AsyncGenerator<Document> {
  const machine = new LongLine(textField);
  let over = false;
  const checked = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      throw cause instanceof BadLine ? refused(cause, source, textField) : cause;
    }
  };
  /** Reads on until the text begins or ends, or the line ends, or there is some text; false where the line is over. */
  const advance = async () => {
    if (!over) over = !(await checked(() => lines.feed(machine)));
    return !over;
  };
  while (machine.text === 'before' && (await advance()));
  if (machine.text === 'within') {
    const pieces = textPieces(machine, advance, (piece) => remarks.wellFormed(piece, source));
    yield { pieces, source };
    // Whoever did not read it to its end goes on with the next line.
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

function refused(cause: BadLine, source: string, textField: string): Refusal {
  const { fault } = cause;
  switch (fault.kind) {
    case 'not JSON':
      return new Refusal(`${source} is not JSON.`, 'JSON Lines have one JSON object per line.', { cause });
    case 'twice':
      return new Refusal(`${source} has "${textField}" twice.`, 'Keep one of them.', { cause });
    case 'too deep':
      return new Refusal(`${source} is nested too deeply.`, 'Keep little more than the text in each line.', { cause });
    default: {
      const shown = fault.keys.slice(0, KEYS_SHOWN).map((key) => key.slice(0, KEY_SHOWN));
      const keys = shown.length > 0 ? shown.join(', ') : 'no keys';
      return new Refusal(
        `${source} has no text in "${textField}" (it has: ${keys}).`,
        'Name the key with --text-field.',
        { cause },
      );
    }
  }
}

/** Lines of a text that comes in pieces. */
class Lines {
  /** What has come and not been taken. */
  private chunk = '';
  private at = 0;

  constructor(private readonly text: AsyncGenerator<string>) {}

  /** Does another line begin? */
  async more(): Promise<boolean> {
    while (this.at === this.chunk.length) {
      const { value, done } = await this.text.next();
      if (done) return false;
      this.chunk = value;
      this.at = 0;
    }
    return true;
  }

  /** The line that begins here, without its end; undefined, and nothing taken, where it is longer than `most`. */
  async take(most: number): Promise<string | undefined> {
    // A line of many pieces must not be searched anew with each.
    const pieces: string[] = [];
    let length = 0;
    for (;;) {
      const end = this.chunk.indexOf('\n', this.at);
      const piece = this.chunk.slice(this.at, end < 0 ? undefined : end);
      pieces.push(piece);
      length += piece.length;
      if (length > most) {
        this.chunk = pieces.join('') + this.chunk.slice(this.at + piece.length);
        this.at = 0;
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

  /** Gives the line that has been begun to `machine` as far as that goes; false where the line is over. */
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
