import { createHash } from 'node:crypto';
import { dirname, join, relative } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Refusal } from '../errors/refusal.js';
import type { Manifest } from './manifest.js';

/** One part of a harvest, or a store that should be one. */
export interface StorePart {
  readonly directory: string;
  readonly manifest: Manifest;
}

type Part = NonNullable<Manifest['part']>;
/** What a complete part records about the whole text. */
export type WholeText = NonNullable<Part['whole']>;

/** `--shard` of a part. */
export const partInWords = ({ index, of }: Pick<Part, 'index' | 'of'>): string => `${index}/${of}`;

/** The windows of a text in order: their number, and a hash of all their contexts. */
export class WindowChain {
  private windows = 0;
  private contexts = 0;
  private hash = createHash('sha256');

  /** @param sha256 of the window's contexts as a store holds them */
  add({ contexts, sha256 }: { readonly contexts: number; readonly sha256: string }): void {
    this.windows++;
    this.contexts += contexts;
    this.hash.update(sha256);
  }

  /** Number of the next window. */
  get next(): number {
    return this.windows;
  }

  whole(): WholeText {
    return { windows: this.windows, contexts: this.contexts, sha256: this.hash.copy().digest('hex') };
  }
}

/** Number of a part's window `own` in the whole harvest. */
export const windowOfWhole = ({ index, of }: Pick<Part, 'index' | 'of'>, own: number): number => own * of + index;

/**
 * All parts of one harvest as the manifest of the store that one harvest would have made: the same shards in the same
 * order, so that everything read from it, in any order, is the same. Files are named relative to the directory of the
 * first part.
 *
 * @returns the directory above the first part, and the manifest
 * @throws Refusal naming what is missing, duplicated, unfinished, or of another harvest
 */
export function joinParts(stores: readonly StorePart[]): StorePart {
  const parts = checkedParts(stores);
  const [first] = parts;
  const directory = dirname(first!.directory);
  const inPlace = <T extends { file: string }>(part: StorePart, entry: T) => ({
    ...entry,
    file: join(relative(directory, part.directory), entry.file),
  });
  const numbered = <T>(of: (part: (typeof parts)[number]) => readonly { own: number; entry: T }[]) =>
    parts
      .flatMap((part) => of(part).map(({ own, entry }) => ({ window: windowOfWhole(part.of, own), entry })))
      .sort((a, b) => a.window - b.window);
  const shards = numbered((part) =>
    part.manifest.shards.map((shard) => ({ own: shard.window, entry: inPlace(part, shard) })),
  );
  const contexts = numbered((part) =>
    part.manifest.contexts.map((window, own) => ({ own, entry: inPlace(part, window) })),
  );
  checkWhole(parts, contexts);
  const { part: _, statistics: __, ...shared } = first!.manifest;
  const windows = contexts.map(({ entry }) => entry);
  const rows = windows.reduce((sum, window) => sum + window.rows, 0);
  const last = parts[(windows.length - 1) % parts.length]!;
  const manifest: Manifest = {
    ...shared,
    ...(last.manifest.text_read && { text_read: last.manifest.text_read }),
    rows,
    mean_norm: windows.reduce((sum, { norm_sum }) => sum + norm_sum, 0) / rows,
    shards: shards.map(({ window, entry }) => ({ ...entry, window })),
    contexts: windows,
  };
  return { directory, manifest };
}

interface CheckedPart extends StorePart {
  readonly of: Part;
  readonly whole: WholeText;
}

/** The parts in their order. */
function checkedParts(stores: readonly StorePart[]): CheckedPart[] {
  const [first] = stores;
  const found: { of: Part; store: StorePart }[] = [];
  for (const store of stores) {
    const { part } = store.manifest;
    if (!part) throw notAPart(store, stores.find((other) => other !== store)!);
    found.push({ of: part, store });
  }
  for (const { store } of found) checkAlike(first!, store);
  const { of: count } = found[0]!.of;
  const byIndex: { of: Part; store: StorePart }[] = [];
  for (const one of found) {
    const other = byIndex[one.of.index];
    if (other) throw twice(one.of, other.store, one.store);
    byIndex[one.of.index] = one;
  }
  const missing = Array.from({ length: count }, (_, i) => i).filter((i) => !byIndex[i]);
  if (missing.length > 0) throw missingParts(found, missing, count);
  return byIndex.map(({ of, store }) => {
    if (!store.manifest.complete || !of.whole) throw unfinished(of, store);
    return { ...store, of, whole: of.whole };
  });
}

/** Settings common to the parts of one harvest. */
function common({ model, precision = 'float32', encoding = 'utf-8', ...manifest }: Manifest) {
  return {
    hook: manifest.hook,
    d_in: manifest.d_in,
    model: model.fingerprint,
    dtype: manifest.dtype,
    precision,
    context: manifest.context,
    bos_token_id: manifest.bos_token_id,
    prepend_bos: manifest.prepend_bos,
    exclude_special_tokens: manifest.exclude_special_tokens ?? [],
    text_field: manifest.text_field,
    encoding,
    documents: manifest.documents,
    chat: manifest.chat,
    seed: manifest.seed,
    batch: manifest.batch,
    rows_per_shard: manifest.rows_per_shard,
    window_batches: manifest.window_batches,
    tokens: manifest.rows_wanted,
    'the number of parts': manifest.part?.of,
  };
}

function checkAlike(one: StorePart, other: StorePart): void {
  const [before, now] = [common(one.manifest), common(other.manifest)];
  for (const key of Object.keys(before) as (keyof typeof before)[]) {
    if (isDeepStrictEqual(before[key], now[key])) continue;
    const values = [before[key], now[key]].map((value) => JSON.stringify(value) ?? 'none');
    throw differ(one, other, `${key} (${values.join(' and ')})`);
  }
}

/** Does every part record the same text, and is it the text of their windows taken together? */
function checkWhole(parts: readonly CheckedPart[], windows: readonly { window: number; entry: Window }[]): void {
  const [first] = parts;
  for (const other of parts) {
    if (!isDeepStrictEqual(first!.whole, other.whole)) throw differ(first!, other, 'their text');
  }
  const chain = new WindowChain();
  let rows = 0;
  for (const { entry } of windows) {
    chain.add(entry);
    rows += entry.rows;
  }
  if (rows === first!.manifest.rows_wanted && isDeepStrictEqual(chain.whole(), first!.whole)) return;
  throw new Refusal(
    `The parts of ${dirname(first!.directory)} hold ${rows} rows of ${windows.length} windows, which are not the ${first!.manifest.rows_wanted} rows of ${first!.whole.windows} windows that they were made of.`,
    'A manifest was changed: harvest the parts again.',
    'activations/wrong-counts',
  );
}

type Window = Manifest['contexts'][number];

const SAME = 'Give the parts of one harvest alone: the same command, each with its own --shard.';

function differ(one: StorePart, other: StorePart, what: string): Refusal {
  return new Refusal(
    `${one.directory} and ${other.directory} are not parts of one harvest: they differ in ${what}.`,
    SAME,
    'activations/parts-differ',
  );
}

function notAPart(store: StorePart, other: StorePart): Refusal {
  return new Refusal(
    `${store.directory} is a complete store, but it is given together with ${other.directory}.`,
    'Several stores can be read as one only if they are parts of one harvest (--shard); to mix texts, harvest them together with several --corpus.',
    'activations/not-a-part',
  );
}

function twice(part: Part, one: StorePart, other: StorePart): Refusal {
  return new Refusal(
    `${one.directory} and ${other.directory} are both part ${partInWords(part)}, whose rows would count twice.`,
    'Omit one of them.',
    'activations/part-twice',
  );
}

/** Max parts that are named in a message. */
const NAMED = 8;

function missingParts(found: readonly { of: Part; store: StorePart }[], missing: number[], count: number): Refusal {
  const named = missing.slice(0, NAMED).map((index) => partInWords({ index, of: count }));
  const words = named.join(', ') + (missing.length > NAMED ? ', …' : '');
  const { store } = found[0]!;
  const there =
    found.length === 1 ? `${store.directory} is one part` : `${dirname(store.directory)} has ${found.length}`;
  return new Refusal(
    `${there} of ${count}: ${missing.length === 1 ? 'part' : 'parts'} ${words} ${missing.length === 1 ? 'is' : 'are'} missing.`,
    `Name all of them, e.g. by their common directory; harvest a missing one by the same command with --shard ${named[0]}.`,
    'activations/parts-missing',
  );
}

function unfinished(part: Part, { directory, manifest }: StorePart): Refusal {
  return new Refusal(
    `${directory}, part ${partInWords(part)}, is not complete: it has ${manifest.rows} rows so far.`,
    `Finish it with \`sae-pipe harvest … --shard ${partInWords(part)} --resume\`.`,
    'activations/incomplete',
  );
}
