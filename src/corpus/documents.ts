import type { Encoding } from '../config/choices.js';
import { Refusal } from '../config/refusal.js';
import type { Progress } from '../progress/progress.js';
import { type CorpusFile, type CorpusFiles, findCorpusFiles } from './corpus-files.js';
import { jsonLines } from './json-lines.js';
import { readParquetDocuments } from './parquet.js';
import { Remarks } from './remarks.js';
import { textOf } from './text-of.js';

/** One text of the corpus. */
export interface Document {
  /** The text in order, in pieces: a long document never exists whole. Read before the next document is asked for. */
  readonly pieces: Iterable<string> | AsyncIterable<string>;
  /** File and place in it, for messages. */
  readonly source: string;
}

/** Where a corpus is and how it is read, as commands are told. */
export interface CorpusSettings {
  readonly corpus: string;
  /** The column or JSON key that holds the text. */
  readonly textField: string;
  readonly encoding?: Encoding;
}

export interface ReadOptions {
  /** Of .txt and JSON Lines; strings in Parquet are UTF-8. */
  readonly encoding?: Encoding;
  /** Hears what was passed over or replaced in each file, once that is closed. */
  readonly say?: (line: string) => void;
  /** Characters of a JSON line that is held whole, at most. */
  readonly shortLine?: number;
}

/** Names of skipped files in a line. */
const NAMES_SHOWN = 5;

/**
 * The files of a corpus, in the order in which they are read.
 *
 * @throws Refusal when there is nothing to read, or something that is not a file, or the same text twice
 */
export async function corpusFiles({ corpus, textField, encoding = 'utf-8' }: CorpusSettings): Promise<CorpusFiles> {
  const found = await findCorpusFiles(corpus, encoding, async (file) => {
    for await (const _ of documentsOf(file, textField, new Remarks(file.path, textField), { encoding })) return;
  });
  const parquet = found.files.find(({ kind }) => kind === 'parquet');
  if (parquet && encoding !== 'utf-8') {
    throw new Refusal(
      `${parquet.path} is Parquet, whose strings are UTF-8, and --encoding ${encoding} is given.`,
      'Leave --encoding out, or give the text files alone.',
    );
  }
  return found;
}

/** The same at the beginning of a command: says which files of a directory are not read, and why. */
export async function openCorpus(settings: CorpusSettings, { say }: Pick<Progress, 'say'>): Promise<CorpusFiles> {
  const found = await corpusFiles(settings);
  const reasons = new Map<string, string[]>();
  for (const { name, why } of found.skipped) reasons.set(why, [...(reasons.get(why) ?? []), name]);
  for (const [why, names] of reasons) {
    const shown = names.slice(0, NAMES_SHOWN).join(', ') + (names.length > NAMES_SHOWN ? ', …' : '');
    say(`${settings.corpus}: ${names.length} skipped (${why}): ${shown}`);
  }
  return found;
}

/**
 * Documents of a corpus in the order of its files: one per line of JSON Lines, one per row of Parquet, one per .txt file.
 *
 * @param textField the column or JSON key that holds the text
 * @throws Refusal naming file and place of a broken document
 */
export async function* readDocuments(
  corpus: string,
  textField: string,
  options: ReadOptions = {},
): AsyncGenerator<Document> {
  const { files } = await corpusFiles({ corpus, textField, encoding: options.encoding });
  for (const file of files) {
    const remarks = new Remarks(file.path, textField);
    try {
      yield* documentsOf(file, textField, remarks, options);
    } finally {
      for (const line of remarks.lines()) options.say?.(line);
    }
  }
}

async function* documentsOf(
  { path, kind, packing }: CorpusFile,
  textField: string,
  remarks: Remarks,
  { encoding = 'utf-8', shortLine }: ReadOptions,
): AsyncGenerator<Document> {
  if (kind === 'parquet') return yield* readParquetDocuments(path, textField, remarks);
  const text = textOf(path, packing, encoding);
  if (kind === 'lines') return yield* jsonLines(path, text, textField, remarks, shortLine);
  try {
    yield { pieces: text, source: path };
  } finally {
    await text.return(undefined);
  }
}
