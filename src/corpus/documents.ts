import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CorpusFormat, Encoding } from '../config/values.js';
import { Refusal } from '../errors/refusal.js';
import type { Progress } from '../progress/progress.js';
import { chatSettings } from './chats/chats.js';
import { chatsOfFile } from './chats/files.js';
import type { Document } from './contexts.js';
import { csvDocuments } from './csv.js';
import { Remarks, textOf } from './encodings.js';
import {
  aside,
  type CorpusFile,
  type CorpusFiles,
  fileKindOf,
  isProbed,
  placeOf,
  READ_ENDINGS,
  refuseDoubles,
  type SkippedFile,
} from './file-kind.js';
import { hubCorpus } from './hub-dataset.js';
import { isHubCorpus } from './hub-reference.js';
import { BadLine, jsonLines } from './json-lines.js';
import { readParquetDocuments } from './parquet.js';
import { beginsWithObject, checkReadOnce, isStandardInput, standardInputFile } from './standard-input.js';

/** Where a corpus is and how it is read, as commands are told. */
interface CorpusSettings {
  /** A file, a directory, hf:…, or - for standard input. */
  readonly corpus: string;
  /** How standard input is read; by its beginning where absent. */
  readonly corpusFormat?: CorpusFormat;
  /** The column or JSON key that holds the text. */
  readonly textField: string;
  readonly encoding?: Encoding;
  /** Sets the order of the files of the hub. */
  readonly seed?: number;
  /** Ask nothing of the network. */
  readonly offline?: boolean;
  /** The column or JSON key of conversations, where these are read; whose tokens become rows. */
  readonly chatField?: string;
  readonly roles?: readonly string[];
}

/** What of a configuration says where the text is and how it is read. */
export function corpusSettings(config: CorpusSettings): CorpusSettings {
  const { corpus, corpusFormat, textField, encoding, seed, offline, chatField, roles } = config;
  return { corpus, corpusFormat, textField, encoding, seed, offline, chatField, roles };
}

interface ReadOptions {
  readonly corpusFormat?: CorpusFormat;
  /** Key or column of conversations, where these are read instead of text. */
  readonly chatField?: string;
  /** Is content that is a list of parts left as it is? */
  readonly chatParts?: boolean;
  /** Of .txt and JSON Lines; strings in Parquet are UTF-8. */
  readonly encoding?: Encoding;
  /** Hears what was passed over or replaced in each file, once that is closed. */
  readonly say?: (line: string) => void;
  /** Characters of a JSON line that is held whole, at most. */
  readonly shortLine?: number;
  /** The files, where they have been found already. */
  readonly files?: readonly CorpusFile[];
}

/** Names of skipped files in a line. */
const NAMES_SHOWN = 5;

/**
 * The files of a corpus, in the order in which they are read.
 *
 * @throws Refusal when there is nothing to read, or something that is not a file, or the same text twice
 */
export async function corpusFiles(settings: CorpusSettings): Promise<CorpusFiles> {
  const { corpus, corpusFormat, textField, encoding = 'utf-8', chatField } = settings;
  if (isStandardInput(corpus)) return { files: [standardInputFile(corpusFormat)], skipped: [] };
  const probe: Probe = async (file) => {
    const remarks = new Remarks(file.path, textField);
    for await (const _ of documentsOf(file, textField, remarks, { encoding, chatField })) return;
  };
  const found = isHubCorpus(corpus)
    ? await withoutOtherFiles(await hubCorpus(settings), encoding, probe)
    : await findCorpusFiles(corpus, encoding, probe);
  const parquet = found.files.find(({ kind }) => kind === 'parquet');
  if (parquet && encoding !== 'utf-8') {
    throw new Refusal(
      `${parquet.path} is Parquet, whose strings are UTF-8, and --encoding ${encoding} is given.`,
      'Leave --encoding out, or give the text files alone.',
      'corpus/encoding-of-parquet',
    );
  }
  return found;
}

/**
 * The same at the beginning of a command: says which files of a directory are not read, and why.
 *
 * @throws UsageRefusal where the command would read standard input twice
 */
export async function openCorpus(
  settings: CorpusSettings & Parameters<typeof checkReadOnce>[0],
  { say }: Pick<Progress, 'say'>,
): Promise<CorpusFiles> {
  checkReadOnce(settings);
  chatSettings(settings);
  const found = await corpusFiles(settings);
  for (const remark of found.remarks ?? []) say(remark);
  const reasons = new Map<string, string[]>();
  for (const { name, why } of found.skipped) reasons.set(why, [...(reasons.get(why) ?? []), name]);
  for (const [why, names] of reasons) {
    const shown = names.slice(0, NAMES_SHOWN).join(', ') + (names.length > NAMES_SHOWN ? ', …' : '');
    say(`${settings.corpus}: ${names.length} skipped (${why}): ${shown}`);
  }
  return found;
}

/**
 * Documents of a corpus in the order of its files: one per line of JSON Lines, one per row of a table or of Parquet, one per
 * .txt file.
 *
 * @param textField the column or JSON key that holds the text
 * @throws Refusal naming file and place of a broken document
 */
export async function* readDocuments(
  corpus: string,
  textField: string,
  options: ReadOptions = {},
): AsyncGenerator<Document> {
  const { encoding, corpusFormat, chatField } = options;
  const files = options.files ?? (await corpusFiles({ corpus, corpusFormat, textField, encoding, chatField })).files;
  for (const file of files) {
    const remarks = new Remarks(file.path, chatField ?? textField);
    try {
      yield* documentsOf(file, textField, remarks, options);
    } finally {
      for (const line of remarks.lines()) options.say?.(line);
    }
  }
}

async function* documentsOf(
  file: CorpusFile,
  textField: string,
  remarks: Remarks,
  { encoding = 'utf-8', shortLine, say, chatField, chatParts }: ReadOptions,
): AsyncGenerator<Document> {
  const { path, kind, packing } = file;
  const place = placeOf(file);
  if (chatField !== undefined) {
    return yield* chatsOfFile(file, { field: chatField, parts: chatParts }, remarks, encoding);
  }
  if (kind === 'parquet') return yield* readParquetDocuments(place, textField, remarks);
  const text = textOf(place, packing, encoding);
  if (kind === 'lines') return yield* jsonLines(path, text, textField, remarks, shortLine);
  if (kind === 'lines or text') return yield* linesOrText(path, text, textField, remarks, say);
  if (kind === 'csv' || kind === 'tsv') return yield* csvDocuments(path, text, kind === 'csv' ? ',' : '\t', textField);
  yield* wholeText(path, text);
}

async function* wholeText(path: string, text: AsyncGenerator<string>): AsyncGenerator<Document> {
  try {
    yield { pieces: text, source: path };
  } finally {
    await text.return(undefined);
  }
}

/** Reads as JSON Lines what begins as they do, and says which it was. */
async function* linesOrText(
  path: string,
  text: AsyncGenerator<string>,
  textField: string,
  remarks: Remarks,
  say: ReadOptions['say'],
): AsyncGenerator<Document> {
  const { isObject, text: all } = await beginsWithObject(text);
  say?.(`${path} is read as ${isObject ? 'JSON Lines' : 'one plain text'}; --corpus-format says otherwise.`);
  yield* isObject ? jsonLines(path, all, textField, remarks) : wholeText(path, all);
}

/** Whether a file whose ending does not tell holds text: reads its first document. */
type Probe = (file: CorpusFile, encoding: Encoding) => Promise<void>;

/** .json files of a data set of the hub that are looked into beforehand, at most. */
const MOST_PROBED = 64;

/** Leaves out files that hold one JSON value, not JSON Lines, and tables without the column. */
async function withoutOtherFiles(found: CorpusFiles, encoding: Encoding, probe: Probe): Promise<CorpusFiles> {
  const others = new Map<CorpusFile, NotText>();
  for (const file of found.files.filter(({ name }) => isProbed(name)).slice(0, MOST_PROBED)) {
    const other = await notText(file, encoding, probe);
    if (other !== undefined) others.set(file, other);
  }
  const files = found.files.filter((file) => !others.has(file));
  if (files.length === 0) {
    const [[file, { why, refusal }]] = [...others] as [[CorpusFile, NotText]];
    if (file.kind !== 'lines') throw refusal;
    throw new Refusal(
      `${file.path} is not JSON Lines: ${why}.`,
      'Name files of another kind, or convert them.',
      'corpus/not-json-lines',
    );
  }
  const skipped = [...found.skipped, ...[...others].map(([{ name }, { why }]) => ({ name, why }))];
  return { ...found, files, skipped };
}

/** Files in a corpus, at most: all are listed before the first is read. */
const MOST_FILES = 100_000;
/** Directories within one another, at most. */
const DEEPEST_DIRECTORY = 64;

/**
 * The files of a corpus: the file itself, or those of a directory and the directories in it, in the order of their paths.
 * Links are followed.
 *
 * @throws Refusal when there is nothing to read, or something that is not a file, or the same text twice
 */
async function findCorpusFiles(path: string, encoding: Encoding, probe: Probe): Promise<CorpusFiles> {
  const found = await stat(path).catch((cause) => {
    throw new Refusal(
      `There is no corpus at ${path}.`,
      `Give a file ending in ${READ_ENDINGS}, or a directory of such files.`,
      'corpus/none',
      {
        cause,
      },
    );
  });
  if (!found.isDirectory()) return { files: [await namedFile(path, encoding, probe)], skipped: [] };
  const walk = new Walk(path);
  await walk.into('', [await realpath(path)]);
  walk.files.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const files: CorpusFile[] = [];
  for (const file of walk.files) {
    const other = isProbed(file.name) ? await notText(file, encoding, probe) : undefined;
    if (other === undefined) files.push(file);
    else walk.skipped.push({ name: file.name, why: other.why });
  }
  if (files.length === 0) {
    const [first] = walk.skipped;
    const skipped = first ? ` (skipped: ${first.name}, ${first.why}${walk.skipped.length > 1 ? ', …' : ''})` : '';
    throw new Refusal(
      `${path} has no file ending in ${READ_ENDINGS}${skipped}.`,
      'The ending tells how a corpus is read.',
      'corpus/nothing-to-read',
    );
  }
  refuseDoubles(files);
  await refuseSameFile(files);
  return { files, skipped: walk.skipped };
}

async function namedFile(path: string, encoding: Encoding, probe: Probe): Promise<CorpusFile> {
  const name = path.split('/').at(-1)!;
  const how = fileKindOf(name);
  if (!how)
    throw new Refusal(
      `${path} does not end in ${READ_ENDINGS}.`,
      'The ending tells how a corpus is read.',
      'corpus/unknown-ending',
    );
  const file = { path, name, bytes: await sizeOf(path), ...how };
  if (how.kind === 'parquet' && how.packing !== 'none') {
    throw new Refusal(
      `${path} is Parquet, and compressed as a whole.`,
      'Unpack it: Parquet compresses within.',
      'corpus/packed-parquet',
    );
  }
  const other = isProbed(name) ? await notText(file, encoding, probe) : undefined;
  if (other && how.kind !== 'lines') throw other.refusal;
  if (other)
    throw new Refusal(
      `${path} is not JSON Lines: ${other.why}.`,
      'Convert it with jq: -c ".[]" for a list, -c "." for objects over several lines.',
      'corpus/not-json-lines',
    );
  return file;
}

/** A corpus is read more than once, and reading a pipe or a device might never end. */
async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile()) return found.size;
  throw new Refusal(
    `${path} is not a file${found ? '' : ' that can be opened'}.`,
    'Give files, or pipe the text into the command and give --corpus -.',
    'corpus/not-a-file',
  );
}

/** Why a file is not read as text. */
interface NotText {
  /** To be read after its name. */
  readonly why: string;
  readonly refusal: Refusal;
}

/**
 * Why a .json file or a table is not read: many of the first hold one value over many lines, or are about the data; many
 * of the second have other columns.
 */
async function notText(file: CorpusFile, encoding: Encoding, probe: Probe): Promise<NotText | undefined> {
  try {
    await probe(file, encoding);
    return undefined;
  } catch (error) {
    const known = error instanceof Refusal && (error.cause instanceof BadLine || error.code === NO_TEXT_COLUMN);
    if (!known) throw error;
    const why = error.message.replace(`${file.path}:`, 'line ').replace(`${file.path} `, '').replace(/\.$/, '');
    return { why, refusal: error };
  }
}

const NO_TEXT_COLUMN = 'corpus/no-text-column';

class Walk {
  readonly files: CorpusFile[] = [];
  readonly skipped: SkippedFile[] = [];

  constructor(private readonly root: string) {}

  /**
   * @param below path from the root on, '' or with a slash at its end
   * @param around real paths of the directories around it, itself included
   */
  async into(below: string, around: readonly string[]): Promise<void> {
    for (const entry of (await this.entries(below)).sort()) {
      const name = `${below}${entry}`;
      const why = aside(entry);
      if (why !== undefined) {
        this.skipped.push({ name, why });
        continue;
      }
      const found = await stat(join(this.root, name)).catch(() => undefined);
      if (found?.isDirectory()) await this.directory(name, around);
      else await this.file(name, entry);
    }
  }

  private async entries(below: string): Promise<string[]> {
    const path = join(this.root, below);
    return readdir(path).catch((cause: NodeJS.ErrnoException) => {
      throw new Refusal(
        `The directory ${path} could not be read (${cause.code}).`,
        'Check its permissions.',
        'corpus/directory-not-readable',
        {
          cause,
        },
      );
    });
  }

  private async directory(name: string, around: readonly string[]): Promise<void> {
    const real = await realpath(join(this.root, name));
    if (around.includes(real)) this.skipped.push({ name, why: 'a link to a directory around it' });
    else if (around.length > DEEPEST_DIRECTORY) {
      throw new Refusal(
        `${join(this.root, name)} is more than ${DEEPEST_DIRECTORY} directories deep.`,
        'Give a directory nearer to the files.',
        'corpus/too-deep',
      );
    } else await this.into(`${name}/`, [...around, real]);
  }

  private async file(name: string, entry: string): Promise<void> {
    const how = fileKindOf(entry);
    if (!how) this.skipped.push({ name, why: 'another ending' });
    else if (how.kind === 'parquet' && how.packing !== 'none') {
      this.skipped.push({ name, why: 'Parquet that is compressed as a whole' });
    } else {
      const path = join(this.root, name);
      this.files.push({ path, name, bytes: await sizeOf(path), ...how });
    }
    if (this.files.length > MOST_FILES) {
      throw new Refusal(
        `${this.root} has more than ${MOST_FILES} files.`,
        'Put several texts into one .jsonl file.',
        'corpus/too-many-files',
      );
    }
  }
}

async function refuseSameFile(files: readonly CorpusFile[]): Promise<void> {
  const known = new Map<string, CorpusFile>();
  for (const file of files) {
    const { dev, ino } = await stat(file.path, { bigint: true });
    const key = `${dev} ${ino}`;
    const other = known.get(key);
    if (other) {
      throw new Refusal(
        `${other.path} and ${file.path} are one file (a link), which would be counted twice.`,
        'Remove one of them.',
        'corpus/same-file-twice',
      );
    }
    known.set(key, file);
  }
}
