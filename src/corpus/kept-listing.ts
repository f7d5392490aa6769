import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { cacheDirectory } from '../disk/cache-directory.js';
import { readTextFile } from '../disk/json.js';
import { writeAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';
import { type DatasetFile, DatasetHub, type DatasetInfo } from '../hub/dataset.js';
import type { HubSettings } from '../hub/request.js';
import { makeKeptDirectory } from './kept-directory.js';

/** Hub queries about a data set. */
export type DatasetListing = Pick<DatasetHub, 'asked' | 'info' | 'files' | 'addressOf'>;

const infoSchema = z.object({ commit: z.string().regex(/^[0-9a-f]{40}$/), card: z.unknown().optional() });
const filesSchema = z.array(z.object({ path: z.string(), bytes: z.int().nonnegative(), hash: z.string().optional() }));

/** Directory of a data set's cached text, by hub. */
export function keptDataset({ endpoint }: HubSettings, dataset: string): string {
  const hub = encodeURIComponent(endpoint).slice(0, 200);
  return join(cacheDirectory('text of the hub', 'corpus/no-cache'), 'corpora', hub, dataset.replace('/', '--'));
}

/**
 * The hub's answers about a data set at a revision. They are cached, so that a later command can work offline.
 *
 * @param directory of the cache; undefined if answers are not cached
 */
export function datasetListing(
  settings: HubSettings,
  dataset: string,
  revision: string,
  directory?: string,
): DatasetListing {
  const hub = new DatasetHub(settings, dataset, revision);
  if (directory === undefined) return hub;
  const kept = new KeptAnswers(directory, settings.offline ? `hf:${dataset}@${revision}` : undefined);
  const nameOf = (at: string) => `info-${encodeURIComponent(at)}.json`;
  return {
    asked: hub.asked,
    info: async () => {
      const info = (await kept.answer(nameOf(revision), infoSchema, () => hub.info())) as DatasetInfo;
      // A command may be given the commit, or pass it to a thread.
      if (!settings.offline && revision !== info.commit) await kept.keep(nameOf(info.commit), info);
      return info;
    },
    files: async (commit, path) => {
      const name = `files-${commit}${path === undefined ? '' : `-${sha256(path)}`}.json`;
      const files = await kept.answer(
        name,
        filesSchema.nullable(),
        async () => (await hub.files(commit, path)) ?? null,
      );
      return (files ?? undefined) as DatasetFile[] | undefined;
    },
    addressOf: (commit, path) => hub.addressOf(commit, path),
  };
}

/** Answers on disk, each with its SHA-256. */
class KeptAnswers {
  /** @param offline name of the data set in messages, if the hub must not be queried */
  constructor(
    private readonly directory: string,
    private readonly offline: string | undefined,
  ) {}

  /** The hub's answer, or offline the cached one. @throws Refusal if there is none */
  async answer<T>(name: string, schema: z.ZodType<T>, ask: () => Promise<T>): Promise<T> {
    if (this.offline !== undefined) return this.kept(join(this.directory, name), schema);
    const value = await ask();
    await this.keep(name, value);
    return value;
  }

  async keep(name: string, value: unknown): Promise<void> {
    const text = JSON.stringify(value);
    await makeKeptDirectory(this.directory);
    await writeAside(join(this.directory, name), JSON.stringify({ sha256: sha256(text), text }));
  }

  private async kept<T>(path: string, schema: z.ZodType<T>): Promise<T> {
    const whole = await readTextFile(path).catch(() => null);
    try {
      const { sha256: expected, text } = JSON.parse(whole ?? '{}') as { sha256?: string; text?: string };
      if (text !== undefined && sha256(text) === expected) return schema.parse(JSON.parse(text));
    } catch {
      // Damaged, which is treated as missing.
    }
    throw new Refusal(
      `${this.offline} is a hub data set, but --offline or HF_HUB_OFFLINE is set and nothing of it is cached.`,
      'Run once with --cache-corpus and network access; or download the files and give their directory.',
      'corpus/offline',
    );
  }
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
