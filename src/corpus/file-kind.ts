import { Refusal } from '../errors/refusal.js';
import type { FilePlace, RemotePlace } from './remote-file.js';
import type { Packing } from './unpacked.js';

/** How documents lie in a file. */
type FileKind = 'lines' | 'text' | 'parquet' | 'csv' | 'tsv' | 'lines or text' | 'arrow' | 'array';

export interface CorpusFile {
  /** Its path, or what a file of the hub is called in messages. */
  readonly path: string;
  /** Its path from the corpus's directory on; of a corpus that is one file, that file's name. */
  readonly name: string;
  /** As it lies on disk, or on the hub. */
  readonly bytes: number;
  readonly kind: FileKind;
  readonly packing: Packing;
  /** Where it is on the hub, if it is. */
  readonly remote?: RemotePlace;
  /** Tells its content from any other, where that is known without reading it: its path and hash on the hub. */
  readonly identity?: string;
}

/** Where a file of a corpus is read: standard input under a name that no file has. */
export const placeOf = ({ path, name, remote }: CorpusFile): FilePlace => remote ?? (name === '-' ? name : path);

export interface SkippedFile {
  readonly name: string;
  readonly why: string;
}

export interface CorpusFiles {
  /** In the order in which they are read. */
  readonly files: readonly CorpusFile[];
  /** What a directory has besides them. */
  readonly skipped: readonly SkippedFile[];
  /** Of a data set of the hub: what to know about it, and the reference that always means these files. */
  readonly remarks?: readonly string[];
  readonly pinned?: string;
  /** The tokenizer that made its token ids, where that is said. */
  readonly tokenizer?: string;
}

const KINDS: Readonly<Record<string, FileKind>> = {
  ...{
    jsonl: 'lines',
    ndjson: 'lines',
    json: 'lines',
    txt: 'text',
    parquet: 'parquet',
    csv: 'csv',
    tsv: 'tsv',
    arrow: 'arrow',
  },
  ...{ npy: 'array', bin: 'array' },
};
const PACKINGS: Readonly<Record<string, Packing>> = { gz: 'gzip', zst: 'zstd' };
const ENDING = /\.(jsonl|ndjson|json|txt|csv|tsv|arrow|npy|bin|parquet)(?:\.(gz|zst))?$/i;
/** Endings as messages have them. */
export const READ_ENDINGS =
  '.jsonl, .ndjson, .json, .txt, .csv, .tsv, .arrow (each also .gz or .zst), .parquet, or, of token ids, .npy or .bin';

/** Names in a dataset's directory that are about it. */
const ABOUT =
  /^((readme|licen[cs]e|copying|notice|changelog|citation|authors|contributing)([._-][^.]*)?\.(txt|json)|dataset_infos?\.json|state\.json|sae_lens\.json)$/i;

/** Kind and packing by the name; undefined where it has none of the endings that are read. */
export function fileKindOf(name: string): Pick<CorpusFile, 'kind' | 'packing'> | undefined {
  const [, ending, packed] = ENDING.exec(name) ?? [];
  const kind = KINDS[ending?.toLowerCase() ?? ''];
  const packing = packed === undefined ? 'none' : PACKINGS[packed.toLowerCase()];
  return kind && packing ? { kind, packing } : undefined;
}

/** Does the ending leave open whether it is text? Such a file is looked into beforehand. */
export const isProbed = (name: string): boolean => /\.(json|csv|tsv)(\.(gz|zst))?$/i.test(name);

/** Is this an array of numbers, most likely of something else? In a directory it is read where --ids-dtype is given. */
export const isArray = (name: string): boolean => fileKindOf(name)?.kind === 'array';

/** Why an entry of a directory is passed over by its name; undefined where it is not. */
export function aside(entry: string): string | undefined {
  if (entry.startsWith('._')) return 'macOS metadata';
  if (entry.startsWith('.')) return 'hidden';
  if (entry === '__MACOSX') return 'macOS metadata';
  return ABOUT.test(entry) ? 'about the data' : undefined;
}

/** The same name in two forms is most likely the same text twice, which would count twice. */
export function refuseDoubles(files: readonly CorpusFile[]): void {
  const forms = new Map<string, CorpusFile>();
  for (const file of files) {
    const stem = file.name.replace(ENDING, '');
    const other = forms.get(stem);
    if (other) {
      throw new Refusal(
        `${other.path} and ${file.path} look like the same text in two forms, which would be counted twice.`,
        file.remote ? 'Name one of the forms: hf:OWNER/DATASET/PATH/*.parquet.' : 'Remove or rename one of them.',
        'corpus/same-text-twice',
      );
    }
    forms.set(stem, file);
  }
}
