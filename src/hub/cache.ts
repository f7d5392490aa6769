import { readdir, readlink, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readTextFile } from '../disk/json-file.js';
import { makeDirectory } from '../disk/make-directory.js';
import { CANDIDATES, neededFiles, shardsOf, WEIGHTS_INDEX } from './model-files.js';
import { isCommit } from './model-id.js';

/**
 * One model in the Hugging Face cache. The layout is that of huggingface_hub ("Understand caching" in its
 * documentation), so that Python's tools find what we download and we what they did:
 *
 *     models--org--name/refs/<branch or tag>           the commit it stood at
 *                       snapshots/<commit>/<file>      symbolic link to
 *                       blobs/<sha256 or git hash>     the bytes
 */
export class CachedModel {
  readonly directory: string;
  readonly blobs: string;

  constructor(
    cache: string,
    readonly id: string,
  ) {
    this.directory = join(cache, `models--${id.replace('/', '--')}`);
    this.blobs = join(this.directory, 'blobs');
  }

  blob(hash: string): string {
    return join(this.blobs, hash);
  }

  snapshot(commit: string): string {
    return join(this.directory, 'snapshots', commit);
  }

  /** The commit that `revision` stood at when it was last downloaded. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    const text = await readTextFile(join(this.directory, 'refs', revision)).catch(() => null);
    const commit = text?.trim() ?? '';
    return isCommit(commit) ? commit : undefined;
  }

  /** Commits whose snapshots are there, the newest first: what a cache that was copied without its refs/ still says. */
  async commits(): Promise<string[]> {
    const names = (await readdir(join(this.directory, 'snapshots')).catch((): string[] => [])).filter(isCommit);
    const whole: { name: string; time: number }[] = [];
    for (const name of names) {
      if ((await this.find(name))?.missing.length !== 0) continue;
      whole.push({ name, time: (await stat(this.snapshot(name))).mtimeMs });
    }
    return whole.sort((a, b) => b.time - a.time).map(({ name }) => name);
  }

  /**
   * The snapshot of `revision`, and which of the files we need it lacks. Python's tools leave snapshots that hold only
   * what was asked for, so a directory alone proves nothing.
   */
  async find(revision: string): Promise<{ path: string; missing: string[] } | undefined> {
    const commit = await this.commitOf(revision);
    if (commit === undefined) return undefined;
    const path = this.snapshot(commit);
    const present = new Set<string>();
    const look = async (names: readonly string[]) => {
      // stat follows the link: one whose blob is gone counts as missing.
      for (const name of names) if ((await stat(join(path, name)).catch(() => undefined))?.isFile()) present.add(name);
    };
    await look(CANDIDATES);
    const { names, missing } = neededFiles((name) => present.has(name));
    if (names.includes(WEIGHTS_INDEX)) {
      const index = join(path, WEIGHTS_INDEX);
      const shards = shardsOf((await readTextFile(index)) ?? '', index);
      await look(shards);
      missing.push(...shards.filter((name) => !present.has(name)));
    }
    return { path, missing };
  }

  /** Puts a blob into a snapshot, as a relative link: the cache may be moved. */
  async link(commit: string, name: string, hash: string): Promise<void> {
    const link = join(this.snapshot(commit), name);
    const target = join('..', '..', 'blobs', hash);
    if ((await readlink(link).catch(() => undefined)) === target) return;
    await replace(link, (aside) => symlink(target, aside));
  }

  /** Remembers where a branch or tag stands; written when the snapshot is whole. */
  async pointRef(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    await replace(join(this.directory, 'refs', revision), (aside) => writeFile(aside, commit));
  }
}

/** Makes something aside and renames it over `path`. Other processes may do the same at once, so the name is our own. */
async function replace(path: string, make: (aside: string) => Promise<void>): Promise<void> {
  await makeDirectory(dirname(path));
  const aside = `${path}.${process.pid}.tmp`;
  await rm(aside, { force: true });
  await make(aside);
  await rename(aside, path);
}
