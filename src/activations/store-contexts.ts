import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { tableFromIPC } from 'apache-arrow';
import { readRegular } from '../disk/input-file.js';
import { checkIpcFile } from '../disk/ipc-check.js';
import { Refusal } from '../errors/refusal.js';
import type { Manifest } from './manifest.js';
import type { Store } from './store.js';

/** Max bytes of the contexts of a window. */
const MOST_BYTES = 2 ** 31 - 1;

/** One context of a store. */
export interface StoredContext {
  /** Token at each position, BOS included. */
  readonly tokens: Int32Array;
  /** Number of the document that each token came from. */
  readonly documents: Uint32Array;
}

/**
 * Contexts of a store, by number.
 *
 * @throws Refusal if a file of contexts is not what was written
 */
export async function readContexts(
  { directory, manifest }: Pick<Store, 'directory' | 'manifest'>,
  wanted: ReadonlySet<number>,
): Promise<Map<number, StoredContext>> {
  const found = new Map<number, StoredContext>();
  for (const entry of manifest.contexts) {
    const here = [...wanted].filter((index) => index >= entry.first && index < entry.first + entry.contexts);
    if (here.length === 0) continue;
    const columns = await columnsIn(directory, entry);
    for (const index of here) {
      const row = columns.context.indexOf(index);
      if (row >= 0) found.set(index, { tokens: columns.tokens(row), documents: columns.documents(row) });
    }
  }
  return found;
}

/**
 * All contexts of the finished windows, in order.
 *
 * @throws Refusal if a file of contexts is not what was written
 */
export async function* allContexts(
  directory: string,
  { contexts }: Pick<Manifest, 'contexts'>,
): AsyncGenerator<StoredContext> {
  for (const entry of contexts) {
    const { context, tokens, documents } = await columnsIn(directory, entry);
    for (const row of context.keys()) yield { tokens: tokens(row), documents: documents(row) };
  }
}

async function columnsIn(directory: string, { file, sha256 }: Manifest['contexts'][number]) {
  const path = join(directory, file);
  const bytes = await readRegular(path, MOST_BYTES);
  if (!bytes || createHash('sha256').update(bytes).digest('hex') !== sha256) throw changed(path);
  return columnsOf(bytes, path);
}

function columnsOf(bytes: Uint8Array, path: string) {
  try {
    checkIpcFile(bytes);
    const table = tableFromIPC(bytes);
    const list = <T>(name: string) => {
      const column = table.getChild(name)!;
      return (row: number) => (column.get(row) as { toArray(): T }).toArray();
    };
    return {
      context: Array.from(table.getChild('context')!.toArray() as Uint32Array),
      tokens: list<Int32Array>('tokens'),
      documents: list<Uint32Array>('documents'),
    };
  } catch {
    throw changed(path);
  }
}

function changed(path: string): Refusal {
  return new Refusal(
    `${path} is not the file of contexts that harvest wrote.`,
    'Harvest the store again.',
    'activations/contexts-changed',
  );
}
