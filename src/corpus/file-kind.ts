import { Refusal } from '../errors/refusal.js';
import type { FilePlace, RemotePlace } from './remote-file.js';
import type { Packing } from './unpacked.js';

/** How documents are stored in a file. */
type FileKind = 'lines' | 'text' | 'parquet' | 'csv' | 'tsv' | 'lines or text' | 'arrow' | 'array';

export interface CorpusFile {
  /** Its path, or for a hub file its name in messages. */
  readonly path: string;
  /** Its path relative to the corpus's directory; if the corpus is a single file, that file's name. */
  readonly name: string;
  /** Compression, on disk or on the hub. */
  readonly bytes: number;
  readonly kind: FileKind;
  readonly packing: Packing;
  /** Where it is on the hub, if it is. */
  readonly remote?: RemotePlace;
  /** Identifies its content, if known without reading it: its path and hash on the hub. */
  readonly identity?: string;
}

/** Where a corpus file is read from; standard input has a name that no file has. */
export const placeOf = ({ path, name, remote }: CorpusFile): FilePlace => remote ?? (name === '-' ? name : path);

export interface SkippedFile {
  readonly name: string;
  readonly why: string;
}

export interface CorpusFiles {
  /** In reading order. */
  readonly files: readonly CorpusFile[];
  /** Other files in the directory. */
  readonly skipped: readonly SkippedFile[];
  /** For a hub data set: remarks about it, and the reference that always refers to these files. */
  readonly remarks?: readonly string[];
  readonly pinned?: string;
  /** The tokenizer that made its token ids, if recorded. */
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
/** Extensions as listed in messages. */
export const READ_ENDINGS =
  '.jsonl, .ndjson, .json, .txt, .csv, .tsv, .arrow (each also .gz or .zst), .parquet, or, of token ids, .npy or .bin';

/** Names in a dataset's directory that describe it. */
const ABOUT =
  /^((readme|licen[cs]e|copying|notice|changelog|citation|authors|contributing)([._-][^.]*)?\.(txt|json)|dataset_infos?\.json|state\.json|sae_lens\.json)$/i;

/** Kind and compression by name; undefined if its extension is not supported. */
export function fileKindOf(name: string): Pick<CorpusFile, 'kind' | 'packing'> | undefined {
  const [, ending, packed] = ENDING.exec(name) ?? [];
  const kind = KINDS[ending?.toLowerCase() ?? ''];
  const packing = packed === undefined ? 'none' : PACKINGS[packed.toLowerCase()];
  return kind && packing ? { kind, packing } : undefined;
}

/** Does the extension leave open whether it is text? Such a file is probed first. */
export const isProbed = (name: string): boolean => /\.(json|csv|tsv)(\.(gz|zst))?$/i.test(name);

/** Is this an array of numbers, most likely not token ids? In a directory it is only read if --ids-dtype is given. */
export const isArray = (name: string): boolean => fileKindOf(name)?.kind === 'array';

/** Why an entry of a directory is skipped because of its name; undefined if it is not. */
export function aside(entry: string): string | undefined {
  if (entry.startsWith('._')) return 'macOS metadata';
  if (entry.startsWith('.')) return 'hidden';
  if (entry === '__MACOSX') return 'macOS metadata';
  return ABOUT.test(entry) ? 'about the data' : undefined;
}

/** The same name with two extensions is most likely the same text twice. */
export function refuseDoubles(files: readonly CorpusFile[]): void {
  const forms = new Map<string, CorpusFile>();
  for (const file of files) {
    const stem = file.name.replace(ENDING, '');
    const other = forms.get(stem);
    if (other) {
      throw new Refusal(
        `${other.path} and ${file.path} look like the same text in two formats, which would be counted twice.`,
        file.remote ? 'Select one format: hf:OWNER/DATASET/PATH/*.parquet.' : 'Remove or rename one of them.',
        'corpus/same-text-twice',
      );
    }
    forms.set(stem, file);
  }
}
