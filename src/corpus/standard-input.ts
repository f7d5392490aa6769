import { isatty } from 'node:tty';
import type { CorpusFormat } from '../config/values.js';
import { UsageRefusal } from '../errors/refusal.js';
import type { CorpusFile } from './file-kind.js';

/** The `--corpus` value for standard input; also its path as a file, since no file's path ends like this. */
const STANDARD_INPUT = '-';
/** Its name in messages. */
const NAME = 'standard input';

export const isStandardInput = (corpus: string): boolean => corpus === STANDARD_INPUT;

/** The input, and the flags that may require reading it twice. */
interface ReadOnce {
  readonly corpus: readonly string[];
  readonly corpusFormat?: CorpusFormat;
  readonly resume?: boolean;
  readonly maxActivationNormMultiple?: number;
}

/**
 * Checks that a command can work with standard input, which can be read only once; reads nothing.
 *
 * @throws UsageRefusal
 */
export function checkReadOnce({ corpus, corpusFormat, resume, maxActivationNormMultiple: norm }: ReadOnce): void {
  if (!corpus.some(isStandardInput)) {
    if (corpusFormat === undefined) return;
    throw new UsageRefusal(
      `--corpus-format applies to --corpus -; the format of files follows from their extension.`,
      'Omit it, or pipe the text in: --corpus -.',
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

/** The error when the text of standard input would be needed a second time. */
export function readTwice(what: string): UsageRefusal {
  return new UsageRefusal(
    `--corpus - can be read only once, but ${what}.`,
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
 * Does a text begin like JSON Lines, with an object? Prose does not.
 *
 * @returns all of the pieces, unchanged
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
