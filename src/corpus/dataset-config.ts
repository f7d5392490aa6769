import { z } from 'zod';
import type { DatasetFile } from '../hub/dataset.js';
import { globMatcher } from './glob.js';

/** One configuration of a data set: which files belong to which split. */
export interface DatasetConfig {
  readonly name: string;
  readonly isDefault?: boolean;
  /** Path patterns by split; if absent, splits are inferred from file names. */
  readonly files?: readonly { readonly split: string; readonly patterns: readonly string[] }[];
  /** Directory that patterns and names are relative to. */
  readonly directory?: string;
}

const paths = z.union([z.string(), z.array(z.string())]).transform((value) => [value].flat());
const filesSchema = z.union([
  paths.transform((patterns) => [{ split: 'train', patterns }]),
  z
    .array(z.looseObject({ split: z.string(), path: paths }))
    .transform((entries) => entries.map(({ split, path }) => ({ split, patterns: path }))),
]);
/** `configs` in the front matter of a README.md (hub documentation, "Manual Configuration"). */
const cardSchema = z.looseObject({
  configs: z
    .array(
      z.looseObject({
        config_name: z.string().default('default'),
        data_files: filesSchema.optional(),
        data_dir: z.string().optional(),
        default: z.boolean().optional(),
      }),
    )
    .optional(),
});

/** The configurations listed in a data set's card; none if there is no list, or an unsupported one. */
export function cardConfigs(card: unknown): DatasetConfig[] {
  const configs = cardSchema.safeParse(card).data?.configs ?? [];
  return configs.map(({ config_name: name, data_files: files, data_dir: directory, default: isDefault }) => ({
    name,
    ...(isDefault && { isDefault }),
    ...(files && { files }),
    ...(directory !== undefined && { directory: trimmed(directory) }),
  }));
}

const trimmed = (path: string) => path.replace(/^(\.?\/)+/, '').replace(/\/+$/, '');

/** A pattern relative to the root of the data set. */
const rooted = ({ directory }: DatasetConfig, pattern: string) =>
  directory ? `${directory}/${trimmed(pattern)}` : trimmed(pattern);

/** The directory of all files of a configuration, as far as its patterns determine it; undefined: the root. */
export function literalDirectory(config: DatasetConfig): string | undefined {
  if (!config.files) return config.directory || undefined;
  const literal = config.files.flatMap(({ patterns }) =>
    patterns.map((pattern) => {
      const parts = rooted(config, pattern).split('/');
      const wild = parts.findIndex((part) => /[*?[\]{}]/.test(part));
      // The last component is a file.
      return parts.slice(0, wild < 0 ? parts.length - 1 : wild);
    }),
  );
  const [first = []] = literal;
  let shared = 0;
  while (shared < first.length && literal.every((parts) => parts[shared] === first[shared])) shared++;
  return shared === 0 ? undefined : first.slice(0, shared).join('/');
}

/** The files of each split of a configuration; splits without files are omitted. */
export function filesOfConfig(
  config: DatasetConfig,
  files: readonly DatasetFile[],
): Map<string, readonly DatasetFile[]> {
  const { directory } = config;
  if (!config.files) {
    return inferredSplits(directory ? files.filter(({ path }) => path.startsWith(`${directory}/`)) : files);
  }
  const splits = new Map<string, readonly DatasetFile[]>();
  for (const { split, patterns } of config.files) {
    const matches = patterns.map((pattern) => globMatcher(rooted(config, pattern)));
    const own = files.filter(({ path }) => matches.some((isMatch) => isMatch(path)));
    if (own.length > 0) splits.set(split, sorted([...(splits.get(split) ?? []), ...own]));
  }
  return splits;
}

const sorted = (files: readonly DatasetFile[]) =>
  [...new Set(files)].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));

/** Words for splits in file and directory names, in the order of Hugging Face's `datasets`. */
const SPLIT_WORDS: Readonly<Record<string, readonly string[]>> = {
  train: ['train', 'training'],
  validation: ['validation', 'valid', 'dev', 'val'],
  test: ['test', 'testing', 'eval', 'evaluation'],
};

/** Splits inferred from file and directory names, like `datasets`; everything is train if nothing matches. */
export function inferredSplits(files: readonly DatasetFile[]): Map<string, readonly DatasetFile[]> {
  const splits = new Map<string, readonly DatasetFile[]>();
  for (const [split, words] of Object.entries(SPLIT_WORDS)) {
    const told = new RegExp(`(^|[/_. -])(${words.join('|')})([/_. -]|\\d|$)`);
    const own = files.filter(({ path }) => told.test(path));
    if (own.length > 0) splits.set(split, sorted(own));
  }
  return splits.size > 0 ? splits : files.length > 0 ? new Map([['train', sorted(files)]]) : new Map();
}
