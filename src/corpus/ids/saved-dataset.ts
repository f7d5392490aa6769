import { dirname, join } from 'node:path';
import { z } from 'zod';
import { exists } from '../../disk/input-file.js';
import { checkJson, readJsonFile } from '../../disk/json.js';
import { Refusal } from '../../errors/refusal.js';
import type { CorpusFile, SkippedFile } from '../file-kind.js';

/** Files that `save_to_disk` of Hugging Face's `datasets`, and SAELens in addition, write next to the data. */
const stateSchema = z.looseObject({ _data_files: z.array(z.looseObject({ filename: z.string() })) });
const splitsSchema = z.looseObject({ splits: z.array(z.string()) });
const saeLensSchema = z.looseObject({ tokenizer_name: z.string().optional().catch(undefined) });

async function read<T extends z.ZodType>(schema: T, path: string): Promise<z.output<T> | undefined> {
  if (!(await exists(path))) return undefined;
  const remedy = 'Save the data set again, or give its .arrow files.';
  return checkJson(schema, await readJsonFile(path, [`${path} does not exist.`, remedy], remedy), path, remedy);
}

/** The data files of a directory. */
interface SavedFiles {
  readonly files: readonly CorpusFile[];
  readonly skipped: readonly SkippedFile[];
  /** The tokenizer that made the token ids, if recorded. */
  readonly tokenizer?: string;
}

/**
 * Omits Arrow files that a saved data set does not list: caches, and leftovers of an earlier save.
 *
 * @param root the corpus's directory
 * @throws Refusal if it contains several splits
 */
export async function savedFiles(root: string, files: readonly CorpusFile[]): Promise<SavedFiles> {
  const splits = (await read(splitsSchema, join(root, 'dataset_dict.json')))?.splits ?? [];
  if (splits.length > 1) {
    throw new Refusal(
      `${root} contains the splits ${splits.join(', ')}, and none is given.`,
      `Give one: --corpus ${join(root, splits[0]!)}.`,
      'corpus/several-splits',
    );
  }
  const listed = new Map<string, ReadonlySet<string> | undefined>();
  const skipped: SkippedFile[] = [];
  const kept: CorpusFile[] = [];
  for (const file of files) {
    const directory = dirname(file.path);
    if (file.kind === 'arrow' && !listed.has(directory)) {
      const state = await read(stateSchema, join(directory, 'state.json'));
      listed.set(directory, state && new Set(state._data_files.map(({ filename }) => join(directory, filename))));
    }
    const own = file.kind === 'arrow' ? listed.get(directory) : undefined;
    if (own?.has(file.path) === false) skipped.push({ name: file.name, why: 'not listed in state.json' });
    else kept.push(file);
  }
  const { tokenizer_name: tokenizer } = (await read(saeLensSchema, join(root, 'sae_lens.json'))) ?? {};
  return { files: kept, skipped, ...(tokenizer !== undefined && { tokenizer }) };
}

/** A warning if the token ids were made by the tokenizer of a different model. */
export function otherTokenizer(corpus: string, tokenizer: string | undefined, model: string | undefined) {
  const name = (path: string) => path.split('/').findLast(Boolean)?.toLowerCase();
  if (tokenizer === undefined || model === undefined || name(tokenizer) === name(model)) return undefined;
  return `${corpus} was tokenized with ${tokenizer} (sae_lens.json), but the model is ${model}: its token ids are only valid if both use the same tokenizer.`;
}
