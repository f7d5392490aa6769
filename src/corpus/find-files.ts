import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Encoding } from '../config/values.js';
import { nearPath, withNear } from '../errors/nearest.js';
import { Refusal } from '../errors/refusal.js';
import {
  aside,
  type CorpusFile,
  type CorpusFiles,
  fileKindOf,
  isProbed,
  READ_ENDINGS,
  refuseDoubles,
  type SkippedFile,
} from './file-kind.js';
import { savedFiles } from './ids/saved-dataset.js';
import { BadLine } from './json-lines.js';

/** Checks whether a file of ambiguous extension contains text: reads its first document. */
export type Probe = (file: CorpusFile, encoding: Encoding) => Promise<void>;

/** Max .json files of a hub data set that are probed. */
const MOST_PROBED = 64;

/** Omits files that contain a single JSON value instead of JSON Lines, and tables without the column. */
export async function withoutOtherFiles(found: CorpusFiles, encoding: Encoding, probe: Probe): Promise<CorpusFiles> {
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
      'Give files of another kind, or convert them.',
      'corpus/not-json-lines',
    );
  }
  const skipped = [...found.skipped, ...[...others].map(([{ name }, { why }]) => ({ name, why }))];
  return { ...found, files, skipped };
}

/** Max files in a corpus: all are listed before the first is read. */
const MOST_FILES = 100_000;
/** Max nesting of directories. */
const DEEPEST_DIRECTORY = 64;

/** How a file of another ending, source code say, is read nevertheless. */
const OTHER_ENDINGS =
  'The ending tells how a corpus is read: give copies of texts the ending .txt, one document each, or write them to a .jsonl file.';

/**
 * The files of a corpus: the file itself, or all files below a directory, sorted by path. Links are followed.
 *
 * @param arrays whether .npy and .bin files are read, too
 * @throws Refusal if there is nothing to read, something is not a file, or the same text occurs twice
 */
export async function findCorpusFiles(
  path: string,
  encoding: Encoding,
  probe: Probe,
  arrays = false,
): Promise<CorpusFiles> {
  const found = await stat(path).catch(async (cause) => {
    throw new Refusal(
      `The corpus ${path} does not exist.`,
      withNear(await nearPath(path), `Give a file ending in ${READ_ENDINGS}, or a directory of such files.`),
      'corpus/none',
      {
        cause,
      },
    );
  });
  if (!found.isDirectory()) return { files: [await namedFile(path, encoding, probe)], skipped: [] };
  const walk = new Walk(path, arrays);
  await walk.into('', [await realpath(path)]);
  walk.files.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const saved = await savedFiles(path, walk.files);
  walk.skipped.push(...saved.skipped);
  const files: CorpusFile[] = [];
  for (const file of saved.files) {
    const other = isProbed(file.name) ? await notText(file, encoding, probe) : undefined;
    if (other === undefined) files.push(file);
    else walk.skipped.push({ name: file.name, why: other.why });
  }
  if (files.length === 0) {
    const [first] = walk.skipped;
    const skipped = first ? ` (skipped: ${first.name}, ${first.why}${walk.skipped.length > 1 ? ', …' : ''})` : '';
    throw new Refusal(
      `${path} has no file ending in ${READ_ENDINGS}${skipped}.`,
      OTHER_ENDINGS,
      'corpus/nothing-to-read',
    );
  }
  refuseDoubles(files);
  await refuseSameFile(files);
  const { tokenizer } = saved;
  return { files, skipped: walk.skipped, ...(tokenizer !== undefined && { tokenizer }) };
}

async function namedFile(path: string, encoding: Encoding, probe: Probe): Promise<CorpusFile> {
  const name = path.split('/').at(-1)!;
  const how = fileKindOf(name);
  if (!how) throw new Refusal(`${path} does not end in ${READ_ENDINGS}.`, OTHER_ENDINGS, 'corpus/unknown-ending');
  const file = { path, name, bytes: await sizeOf(path), ...how };
  if (how.kind === 'parquet' && how.packing !== 'none') {
    throw new Refusal(
      `${path} is a compressed Parquet file.`,
      'Decompress it: Parquet has its own compression.',
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
  /** Phrase to follow its name. */
  readonly why: string;
  readonly refusal: Refusal;
}

/**
 * Why a .json file or a table is not read: many .json files contain one value over many lines, or describe the data;
 * many tables have other columns.
 */
async function notText(file: CorpusFile, encoding: Encoding, probe: Probe): Promise<NotText | undefined> {
  try {
    await probe(file, encoding);
    return undefined;
  } catch (error) {
    const known = error instanceof Refusal && (error.cause instanceof BadLine || NOT_TEXT.includes(error.code));
    if (!known) throw error;
    const why = error.message.replace(`${file.path}:`, 'line ').replace(`${file.path} `, '').replace(/\.$/, '');
    return { why, refusal: error };
  }
}

/** For tables: without the column, or not usable for conversations or token ids. */
const NOT_TEXT = ['corpus/no-text-column', 'corpus/chat-of-text', 'corpus/ids-of-text'];

class Walk {
  readonly files: CorpusFile[] = [];
  readonly skipped: SkippedFile[] = [];

  constructor(
    private readonly root: string,
    private readonly arrays: boolean,
  ) {}

  /**
   * @param below path relative to the root, '' or with a trailing slash
   * @param around real paths of the enclosing directories, itself included
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
    if (around.includes(real)) this.skipped.push({ name, why: 'a link to an enclosing directory' });
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
    if (!how) this.skipped.push({ name, why: 'unsupported extension' });
    else if (how.kind === 'array' && !this.arrays) {
      this.skipped.push({ name, why: 'an array, read with --ids-dtype' });
    } else if (how.kind === 'parquet' && how.packing !== 'none') {
      this.skipped.push({ name, why: 'a compressed Parquet file' });
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
        `${other.path} and ${file.path} are the same file (a link), which would be counted twice.`,
        'Remove one of them.',
        'corpus/same-file-twice',
      );
    }
    known.set(key, file);
  }
}
