import { createHash } from 'node:crypto';
import { join, relative } from 'node:path';
import { MANIFEST_FILE } from '../activations/manifest.js';
import { openStore } from '../activations/store.js';
import { Refusal } from '../errors/refusal.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, throwIfStopped } from '../progress/stop.js';
import { type Contents, type OpenFiles, type PushedFile, publicJson } from './contents.js';
import type { Destination } from './destination.js';
import { storeCard } from './store-card.js';

/** Max files of a store: each stays open until it is sent. */
const MOST_FILES = 500;

/**
 * The files of a finished activation store, checked against its manifest, and its card.
 *
 * @param mayPush refuses too many bytes, before they are read
 * @throws Refusal if it is unfinished, or a file differs from what was harvested
 */
export async function storeContents(
  { what, license }: { readonly what: string; readonly license?: string },
  mayPush: (bytes: number) => void,
  to: Destination,
  open: OpenFiles,
  progress: Progress,
  stop: StopRequest,
): Promise<Contents> {
  const { directory, manifest, shards, parts } = await openStore(what);
  const { contexts } = manifest;
  const placed = parts.map((part) => ({ ...part, at: relative(directory, part.directory) }));
  const elsewhere = placed.find(({ at }) => at.startsWith('..'));
  if (elsewhere) {
    throw new Refusal(
      `${what} is in parts that are not in one directory: ${elsewhere.directory} is not in ${directory}.`,
      'Move them next to each other, and push the directory that contains them.',
      'publish/parts-apart',
    );
  }
  const statistics = placed.flatMap(({ at, manifest: { statistics: kept } }) =>
    kept ? [{ ...kept, file: join(at, kept.file) }] : [],
  );
  const listed = [...shards, ...contexts, ...statistics];
  if (listed.length > MOST_FILES) {
    throw new Refusal(
      `${directory} has ${listed.length} files, but at most ${MOST_FILES} can be pushed in one commit.`,
      'Harvest it with larger --rows-per-shard and --window-rows.',
      'publish/too-many-files',
    );
  }
  const files: PushedFile[] = [];
  for (const { file, sha256 } of listed) files.push({ ...(await open.add(directory, file)), sha256 });
  mayPush(files.reduce((sum, { content }) => sum + content.size, 0));
  await checkHashes(directory, files, progress, stop);
  for (const { at } of placed) files.push(await publicJson(directory, join(at, MANIFEST_FILE)));
  const notes = license === undefined ? ['The card names no licence; --license does, e.g. --license apache-2.0.'] : [];
  return { kind: 'data set', files, card: storeCard({ manifest, shards }, to, license), notes };
}

async function checkHashes(
  directory: string,
  files: readonly PushedFile[],
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const total = files.reduce((sum, { content }) => sum + content.size, 0);
  progress.begin('checking files', total, 'byte');
  let done = 0;
  for (const { name, content, sha256 } of files) {
    const hash = createHash('sha256');
    for await (const piece of content.stream()) {
      hash.update(piece);
      done += piece.length;
      progress.update(done, name);
      throwIfStopped(stop, NOTHING_BEGUN);
    }
    if (hash.digest('hex') === sha256) continue;
    throw new Refusal(
      `${join(directory, name)} has changed since it was written.`,
      'Harvest the store again.',
      'activations/shard-changed',
    );
  }
  progress.end();
}
