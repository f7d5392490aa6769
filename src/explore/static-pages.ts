import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { makeDirectory } from '../disk/durable.js';
import { readTextFile } from '../disk/json.js';
import { asOwner, type ClaimOptions, claimOutputDirectory } from '../disk/output-directory.js';
import { writeAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { stopRequested, throwIfStopped } from '../progress/stop.js';
import type { FeaturePage } from './api.js';
import { type ExploredFolder, type ExploredSae, indexOf } from './explorer.js';
import { pageFiles } from './page.js';
import { columnFiles, PACKED, packPath, VOCABULARY_PATH } from './static-data.js';

/** Marks a directory as written here, so that it may be replaced. */
const MARK_FILE = 'sae-pipe-pages.json';
const MARK = `${JSON.stringify({ format: 'sae-pipe pages', version: 1 })}\n`;
/** Written last: pages that have it are complete. */
const RESULT = 'index.html';

const NOTHING_LIVE = { list: false, labels: false, text: false } as const;

/** Where and how to write static pages. */
interface StaticPages {
  readonly out: string;
  readonly overwrite: boolean;
  readonly takeOver?: ClaimOptions['takeOver'];
}

/**
 * Writes the pages of a folder of features and their data as files for any plain web server.
 *
 * @throws Refusal if the directory contains anything else, or is not writable
 */
export async function writeStaticPages(
  explorer: ExploredFolder,
  { out, overwrite, takeOver }: StaticPages,
  progress: Progress,
  stop: StopRequest,
): Promise<string> {
  const files = pageFiles(explorer.title);
  const names = [MARK_FILE, 'data', ...files.map(({ path }) => path)];
  const claim = {
    ...{ overwrite, takeOver, result: RESULT, beginsAnew: true, inputs: [explorer.directory] },
    ours: (name: string) => names.includes(name),
  };
  await asOwner([out], claim, async () => {
    if (overwrite) await requirePages(out);
    await claimOutputDirectory(out, claim);
    const write = writerInto(out);
    await write(MARK_FILE, MARK);
    await write(VOCABULARY_PATH, JSON.stringify(explorer.vocabulary.texts));
    for (const [name, sae] of explorer.saes) await writeSae(name, sae, write, progress, stop);
    await write('data/index.json', JSON.stringify(indexOf(explorer, NOTHING_LIVE, { packed: PACKED, only: null })));
    for (const { path, body } of files) if (path !== RESULT) await write(path, body);
    await write(RESULT, files.find(({ path }) => path === RESULT)!.body);
  });
  return join(out, RESULT);
}

export type Write = (path: string, content: string | Uint8Array) => Promise<void>;

/** Writes files below a directory, creating subdirectories. */
export function writerInto(out: string): Write {
  const made = new Set<string>();
  return async (path, content) => {
    const full = join(out, ...path.split('/'));
    const directory = dirname(full);
    if (!made.has(directory)) await makeDirectory(directory);
    made.add(directory);
    await writeAside(full, content);
  };
}

async function writeSae(
  name: string,
  { record, columns, lists, pages, labels }: ExploredSae,
  write: Write,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  for (const [path, bytes] of columnFiles(name, columns)) await write(path, bytes);
  await write(`data/${name}/scatter.json`, JSON.stringify(lists.scatter()));
  await write(`data/${name}/labels.json`, JSON.stringify(labels.all()));
  progress.begin(`writing pages of ${name}`, record.d_sae, 'feature');
  for (let first = 0; first < record.d_sae; first += PACKED) {
    const pack: FeaturePage[] = [];
    for (let j = first; j < Math.min(record.d_sae, first + PACKED); j++) pack.push(await pages.page(j));
    await write(packPath(name, first), gzipSync(JSON.stringify(pack)));
    progress.update(first + pack.length);
    if (await stopRequested(stop))
      throwIfStopped(stop, 'the pages are incomplete; the same command writes them again.');
  }
  progress.end();
}

/** Names are not enough: someone's own site has an index.html and data, too. */
async function requirePages(out: string): Promise<void> {
  const here = (name: string) => readTextFile(join(out, name), undefined, 2 ** 24).catch(() => '');
  if ((await here(MARK_FILE)) === MARK || (await here(RESULT)) === null) return;
  throw new Refusal(
    `${out} contains pages that this command did not write.`,
    'Choose another directory; --overwrite deletes only its own files.',
    'disk/foreign-files',
  );
}

/** The data of a page with a few features, by the paths at which a server would have it. */
export async function embeddedData(
  explorer: ExploredFolder,
  only: Readonly<Record<string, readonly number[]>>,
): Promise<Record<string, unknown>> {
  const data: Record<string, unknown> = { 'data/index.json': indexOf(explorer, NOTHING_LIVE, { packed: null, only }) };
  for (const [name, features] of Object.entries(only)) {
    for (const j of features) data[`data/${name}/features/${j}.json`] = await explorer.saes.get(name)!.pages.page(j);
  }
  return data;
}
