import { readdir, readlink, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeDirectory } from '../disk/durable.js';
import { readTextFile } from '../disk/json.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';

/**
 * One model in the Hugging Face cache. The layout is that of huggingface_hub ("Understand caching" in its
 * documentation), so that Python's tools find what we download, and the other way round:
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

  /** The commit that `revision` pointed to when last downloaded. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    const text = await readTextFile(join(this.directory, 'refs', revision)).catch(() => null);
    const commit = text?.trim() ?? '';
    return isCommit(commit) ? commit : undefined;
  }

  /** Commits with a snapshot, newest first: the only information in a cache that was copied without its refs/. */
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
   * The snapshot of `revision`, and the files we need that it lacks. Python's tools leave partial snapshots, so the
   * existence of the directory proves nothing.
   */
  async find(revision: string): Promise<{ path: string; missing: string[] } | undefined> {
    const commit = await this.commitOf(revision);
    if (commit === undefined) return undefined;
    const path = this.snapshot(commit);
    const present = new Set<string>();
    const look = async (names: readonly string[]) => {
      // stat follows the link: a dangling one counts as missing.
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

  /** Links a blob into a snapshot, relatively, so that the cache may be moved. */
  async link(commit: string, name: string, hash: string): Promise<void> {
    const link = join(this.snapshot(commit), name);
    const target = join('../'.repeat(name.split('/').length + 1), 'blobs', hash);
    if ((await readlink(link).catch(() => undefined)) === target) return;
    await replace(link, (aside) => symlink(target, aside));
  }

  /** Records the commit of a branch or tag; written once the snapshot is complete. */
  async pointRef(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    await replace(join(this.directory, 'refs', revision), (aside) => writeFile(aside, commit));
  }
}

/**
 * Creates something under a temporary name and renames it to `path`. Other processes may do the same concurrently, so
 * the name includes our pid.
 */
async function replace(path: string, make: (aside: string) => Promise<void>): Promise<void> {
  await makeDirectory(dirname(path));
  const aside = `${path}.${process.pid}.tmp`;
  await rm(aside, { force: true });
  await make(aside);
  await rename(aside, path);
}

/** Determines the model's graph. */
export const CONFIG = 'config.json';
/** Required by every model, besides its weights. */
const REQUIRED = [CONFIG, 'tokenizer.json', 'tokenizer_config.json'] as const;
/** The chat template, if it is not in tokenizer_config.json. */
export const CHAT_TEMPLATE = 'chat_template.jinja';
/** Used if present. */
const OPTIONAL = ['generation_config.json', 'special_tokens_map.json', CHAT_TEMPLATE] as const;

/** All weights in one file; preferred if both kinds exist. */
export const WEIGHTS = 'model.safetensors';
/** Otherwise this index, which names the shards. */
export const WEIGHTS_INDEX = 'model.safetensors.index.json';

/** Is this a valid shard name? It is data from an index, and must not point outside the model's directory. */
export const isShardName = (name: string) => /^\w[\w.-]*\.safetensors$/.test(name);

/** Every file that may be needed, except shards. */
export const CANDIDATES: readonly string[] = [...REQUIRED, ...OPTIONAL, WEIGHTS, WEIGHTS_INDEX];

/**
 * Max bytes of a file. Everything but weights is read into memory: the largest tokenizer.json, for a vocabulary of
 * 262,144, has 33 MB.
 */
export function mostBytesOf(name: string): number {
  if (name === 'tokenizer.json') return 2 ** 28;
  if (name === WEIGHTS_INDEX) return 2 ** 26;
  return name.endsWith('.safetensors') ? Number.MAX_SAFE_INTEGER : 2 ** 24;
}

/**
 * The files of a model that sae-pipe reads, except the shards named by an index.
 *
 * @param has whether a file of this name exists
 * @returns the names, and what is missing, in words
 */
export function neededFiles(has: (name: string) => boolean): { names: string[]; missing: string[] } {
  const weights = [WEIGHTS, WEIGHTS_INDEX].find(has);
  const names: string[] = [...REQUIRED, ...OPTIONAL].filter(has);
  const missing: string[] = REQUIRED.filter((name) => !has(name));
  if (weights) names.push(weights);
  else missing.push(`${WEIGHTS} (or ${WEIGHTS_INDEX} and its shards)`);
  return { names, missing };
}

/**
 * The distinct shards named by an index. Its values come from elsewhere and become paths: only plain names are
 * accepted.
 *
 * @param text model.safetensors.index.json
 * @param path where it came from, for messages
 * @throws Refusal if it is not an index, or names anything but files next to it
 */
export function shardsOf(text: string, path: string): string[] {
  let map: unknown;
  try {
    map = (JSON.parse(text) as { weight_map?: unknown } | null)?.weight_map;
  } catch (cause) {
    throw new Refusal(`${path} is not JSON.`, 'Remove the file, and it is downloaded again.', 'hub/broken-index', {
      cause,
    });
  }
  if (map === null || typeof map !== 'object' || Object.keys(map).length === 0) {
    throw new Refusal(`${path} has no weight_map.`, 'Remove the file, and it is downloaded again.', 'hub/broken-index');
  }
  const shards = new Set<string>();
  for (const name of Object.values(map)) {
    if (typeof name !== 'string' || !isShardName(name)) {
      throw new Refusal(
        `${path} names the shard ${JSON.stringify(name)}, which is not a plain .safetensors file name.`,
        'Do not use this model: its index points outside its directory or is damaged.',
        'hub/unsafe-shard-name',
      );
    }
    shards.add(name);
  }
  return [...shards].sort();
}

/** `org/name` as allowed on the hub: letters, digits, `.`, `_` and `-`, each part starting with a letter or digit. */
const MODEL_ID = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;

/** Could this be a model's name on the hub? It may also be a relative path of two components. */
export function isModelId(model: string): boolean {
  // `--` separates the parts of a cache directory's name, and the hub allows neither.
  return MODEL_ID.test(model) && !/--|\.\./.test(model);
}

/** A full commit hash: such a revision never changes. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/**
 * Validates a branch, tag or commit. It becomes a path in the cache's refs/, so names that git itself refuses are
 * refused.
 *
 * @throws UsageRefusal if it is not a valid name
 */
export function checkRevision(revision: string): void {
  const parts = revision.split('/');
  if (revision.length <= 200 && parts.every((part) => /^[\w+-][\w.+-]*$/.test(part) && !part.includes('..'))) return;
  throw new UsageRefusal(
    `--revision ${JSON.stringify(revision)} is not a revision.`,
    'Give a branch, a tag or a full commit hash of the model, e.g. main.',
    'hub/wrong-revision',
  );
}
