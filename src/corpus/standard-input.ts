import { isatty } from 'node:tty';
import type { CorpusFormat } from '../config/values.js';
import { UsageRefusal } from '../errors/refusal.js';
import type { CorpusFile } from './file-kind.js';

/** `--corpus` that means standard input; as a place of a file, too, since no file's path ends in it. */
const STANDARD_INPUT = '-';
/** What it is called in messages. */
const NAME = 'standard input';

export const isStandardInput = (corpus: string): boolean => corpus === STANDARD_INPUT;

/** What is to be read, and by what it may have to be read twice. */
interface ReadOnce {
  readonly corpus: readonly string[];
  readonly corpusFormat?: CorpusFormat;
  readonly resume?: boolean;
  readonly maxActivationNormMultiple?: number;
}

/**
 * Does the command suit standard input, which comes once? Nothing is read.
 *
 * @throws UsageRefusal
 */
export function checkReadOnce({ corpus, corpusFormat, resume, maxActivationNormMultiple: norm }: ReadOnce): void {
  if (!corpus.some(isStandardInput)) {
    if (corpusFormat === undefined) return;
    throw new UsageRefusal(
      `--corpus-format is for --corpus -, and files are read as their endings say.`,
      'Leave it out, or pipe the text in: --corpus -.',
      'corpus/format-of-files',
    );
  }
  const again = resume ? '--resume' : norm === undefined ? undefined : '--max-activation-norm-multiple';
  if (again !== undefined) throw readTwice(`${again} reads the text from its beginning a second time`);
  if (isatty(0)) {
    throw new UsageRefusal(
      '--corpus - reads standard input, which is a terminal.',
      'Pipe a text into it: zcat texts.jsonl.gz | sae-pipe harvest --corpus - ….',
      'corpus/terminal',
    );
  }
}

/** The refusal of whatever would need the text of standard input a second time. */
export function readTwice(what: string): UsageRefusal {
  return new UsageRefusal(
    `--corpus - comes once, and ${what}.`,
    'Write the text to a file and give that: … > texts.jsonl.',
    'corpus/comes-once',
  );
}

const KINDS = { jsonl: 'lines', txt: 'text', csv: 'csv', tsv: 'tsv' } as const;

/** Standard input as the only file of a corpus. */
export function standardInputFile(format: CorpusFormat | undefined): CorpusFile {
  const kind = format === undefined ? 'lines or text' : KINDS[format];
  return { path: NAME, name: STANDARD_INPUT, bytes: 0, kind, packing: 'none' };
}

/**
 * Does a text begin as JSON Lines do? An object is begun by no prose.
 *
 * @returns the pieces, all of them
 */
export async function beginsWithObject(
  text: AsyncGenerator<string>,
): Promise<{ isObject: boolean; text: AsyncGenerator<string> }> {
  const begun: string[] = [];
  let first: string | undefined;
  while (first === undefined) {
    const { value, done } = await text.next();
    if (done) break;
    begun.push(value);
    first = /\S/.exec(value)?.[0];
  }
  const all = async function* () {
    try {
      yield* begun;
      yield* text;
    } finally {
      await text.return(undefined);
    }
  };
  return { isObject: first === '{', text: all() };
}
