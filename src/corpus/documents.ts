import type { CorpusFormat, Encoding, IdsDType } from '../config/values.js';
import { Refusal } from '../errors/refusal.js';
import type { Progress } from '../progress/progress.js';
import { chatSettings } from './chats/chats.js';
import type { Document } from './contexts.js';
import { Remarks } from './encodings.js';
import { documentsOfFile, type FileReading } from './file-documents.js';
import type { CorpusFile, CorpusFiles } from './file-kind.js';
import { findCorpusFiles, type Probe, withoutOtherFiles } from './find-files.js';
import { hubCorpus } from './hub-dataset.js';
import { isHubCorpus } from './hub-reference.js';
import { checkIds } from './ids/ids.js';
import { otherTokenizer } from './ids/saved-dataset.js';
import { checkMixture } from './mixture.js';
import { checkReadOnce, isStandardInput, standardInputFile } from './standard-input.js';
import type { CorpusBegin } from './text-position.js';

/** Where one corpus is and how it is read. */
interface SourceSettings {
  /** A file, a directory, hf:…, or - for standard input. */
  readonly corpus: string;
  /** Format of standard input; detected if absent. */
  readonly corpusFormat?: CorpusFormat;
  /** The column or JSON key of the text. */
  readonly textField: string;
  readonly encoding?: Encoding;
  /** Seed for the order of hub files, for shuffling documents, and for mixing corpora. */
  readonly seed?: number;
  /** Never use the network. */
  readonly offline?: boolean;
  /** Cache what is read from the hub on disk, and read from that cache. */
  readonly cacheCorpus?: boolean;
  /** The column or JSON key of conversations, if these are read, and the roles whose tokens become rows. */
  readonly chatField?: string;
  readonly roles?: readonly string[];
  /** The column or JSON key of token ids, if these are read instead of text, and the element type of .bin files. */
  readonly idsField?: string;
  readonly idsDtype?: IdsDType;
}

/** The same for one corpus or several, as given in commands. */
interface CorpusSettings extends Omit<SourceSettings, 'corpus'> {
  readonly corpus: readonly string[];
}

/** The settings that say where the text is and how it is read. */
export function corpusSettings(config: CorpusSettings): CorpusSettings {
  const { corpus, corpusFormat, textField, encoding, seed, offline, cacheCorpus } = config;
  const { chatField, roles, idsField, idsDtype } = config;
  const where = { corpus, corpusFormat, seed, offline, cacheCorpus };
  return { ...where, textField, encoding, chatField, roles, idsField, idsDtype };
}

interface ReadOptions extends FileReading {
  readonly corpusFormat?: CorpusFormat;
  /** The files, if already found. */
  readonly files?: readonly CorpusFile[];
  /** The document to start with; earlier files are not read. */
  readonly from?: CorpusBegin;
}

/** Kinds of files to which --encoding does not apply. */
const BINARY: Partial<Record<CorpusFile['kind'], string>> = {
  parquet: 'Parquet, whose strings are UTF-8',
  arrow: 'Arrow, whose strings are UTF-8',
  array: 'an array of numbers',
};
/** Max names of skipped files per line. */
const NAMES_SHOWN = 5;

/**
 * The files of one corpus, in reading order.
 *
 * @throws Refusal if there is nothing to read, something is not a file, or the same text occurs twice
 */
export async function corpusFiles(settings: SourceSettings): Promise<CorpusFiles> {
  const { corpus, corpusFormat, textField, encoding = 'utf-8', chatField, idsField, idsDtype } = settings;
  if (isStandardInput(corpus)) return { files: [standardInputFile(corpusFormat)], skipped: [] };
  const probe: Probe = async (file) => {
    const remarks = new Remarks(file.path, textField);
    const reading = { encoding, chatField, idsField, idsDtype };
    for await (const _ of documentsOfFile(file, textField, remarks, reading)) return;
  };
  const found = isHubCorpus(corpus)
    ? await withoutOtherFiles(await hubCorpus(settings), encoding, probe)
    : await findCorpusFiles(corpus, encoding, probe, idsDtype !== undefined);
  const binary = found.files.find(({ kind }) => BINARY[kind] !== undefined);
  if (binary && encoding !== 'utf-8') {
    throw new Refusal(
      `${binary.path} is ${BINARY[binary.kind]}; --encoding ${encoding} does not apply.`,
      'Omit --encoding, or give only the text files.',
      'corpus/encoding-of-parquet',
    );
  }
  return found;
}

/** All files of the corpora, those of the first one first. */
export async function filesOfAll(settings: CorpusSettings): Promise<CorpusFile[]> {
  const files: CorpusFile[] = [];
  for (const corpus of settings.corpus) files.push(...(await corpusFiles({ ...settings, corpus })).files);
  return files;
}

/** The corpora of a command, opened. */
interface OpenedCorpora {
  readonly files: readonly CorpusFile[];
  /** Each by a name that always refers to the same files. */
  readonly pinned: readonly string[];
}

/**
 * Finds the files of the corpora, and reports which files of a directory are skipped, and why.
 *
 * @throws UsageRefusal if corpora cannot be combined, or the command would read standard input twice
 */
export async function openCorpus(
  settings: CorpusSettings &
    Parameters<typeof checkMixture>[0] &
    Parameters<typeof checkReadOnce>[0] & { readonly model?: string },
  { say }: Pick<Progress, 'say'>,
): Promise<OpenedCorpora> {
  checkMixture(settings);
  checkReadOnce(settings);
  chatSettings(settings);
  checkIds(settings);
  const files: CorpusFile[] = [];
  const pinned: string[] = [];
  for (const corpus of settings.corpus) {
    const found = await corpusFiles({ ...settings, corpus });
    for (const remark of found.remarks ?? []) say(remark);
    const other = otherTokenizer(corpus, found.tokenizer, settings.model);
    if (other !== undefined) say(other);
    const reasons = new Map<string, string[]>();
    for (const { name, why } of found.skipped) reasons.set(why, [...(reasons.get(why) ?? []), name]);
    for (const [why, names] of reasons) {
      const shown = names.slice(0, NAMES_SHOWN).join(', ') + (names.length > NAMES_SHOWN ? ', …' : '');
      say(`${corpus}: ${names.length} skipped (${why}): ${shown}`);
    }
    files.push(...found.files);
    pinned.push(found.pinned ?? corpus);
  }
  return { files, pinned };
}

/**
 * Documents of one corpus in the order of its files: one per line of JSON Lines, per row of a table or of Parquet, and
 * per .txt file.
 *
 * @param textField the column or JSON key of the text
 * @throws Refusal naming file and location of a broken document
 */
export async function* readDocuments(
  corpus: string,
  textField: string,
  options: ReadOptions = {},
): AsyncGenerator<Document> {
  const files = options.files ?? (await corpusFiles({ ...options, corpus, textField })).files;
  const { from } = options;
  let number = from?.number ?? 0;
  for (const [i, file] of files.entries()) {
    if (from && i < from.file) continue;
    const begin = from?.file === i ? from : undefined;
    const remarks = new Remarks(file.path, options.chatField ?? options.idsField ?? textField);
    try {
      for await (const document of documentsOfFile(file, textField, remarks, { ...options, from: begin })) {
        const { place } = document;
        // Not every kind of file can be read from the middle.
        if (begin && place && place.row < begin.row) continue;
        yield place ? { ...document, place: { ...place, file: i, number } } : document;
        number++;
      }
    } finally {
      for (const line of remarks.lines()) options.say?.(line);
    }
  }
}
