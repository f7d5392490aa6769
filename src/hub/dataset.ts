import { Refusal } from '../errors/refusal.js';
import { isCommit } from './cache.js';
import { API_BOUNDS, type Asked, boundedFetch, type HubSettings, hubFetch } from './request.js';

/** What the hub says of a data set at a revision. */
export interface DatasetInfo {
  readonly commit: string;
  /** The front matter of its README.md, as the hub has parsed it: written by anyone. */
  readonly card: unknown;
}

/** A file of a data set. */
export interface DatasetFile {
  readonly path: string;
  readonly bytes: number;
  /** Hash of its content, as the hub lists it: SHA-256 in large-file storage, else git's. */
  readonly hash?: string;
}

/** One conversation with the hub about a data set, within bounds. */
export class DatasetHub {
  private readonly fetch: typeof globalThis.fetch;
  readonly asked: Asked;

  constructor(
    private readonly settings: HubSettings,
    dataset: string,
    revision: string,
  ) {
    this.asked = { kind: 'data set', model: dataset, revision };
    this.fetch = boundedFetch(hubFetch(settings, this.asked), API_BOUNDS);
  }

  /** @throws Refusal where there is no such data set or revision, or the hub cannot be reached */
  info(): Promise<DatasetInfo> {
    return this.answered(async ({ datasetInfo }) => {
      const { model: name, revision } = this.asked;
      const additionalFields = ['sha', 'cardData'] as const;
      const { endpoint: hubUrl } = this.settings;
      const found = await datasetInfo({
        ...{ name, revision, hubUrl, fetch: this.fetch },
        additionalFields: [...additionalFields],
      });
      const { sha, cardData } = found;
      if (typeof sha !== 'string' || !isCommit(sha)) throw this.odd(`the commit is ${JSON.stringify(sha)}`);
      return { commit: sha, card: cardData };
    });
  }

  /**
   * Every file at a commit, or of a directory.
   *
   * @returns undefined where there is no such directory
   */
  async files(commit: string, path?: string): Promise<DatasetFile[] | undefined> {
    try {
      return await this.answered(async ({ listFiles }) => {
        const repo = { type: 'dataset', name: this.asked.model } as const;
        const files: DatasetFile[] = [];
        const { endpoint: hubUrl } = this.settings;
        const listing = listFiles({ repo, revision: commit, path, recursive: true, hubUrl, fetch: this.fetch });
        for await (const { type, path: name, size, lfs, oid } of listing) {
          if (type !== 'file') continue;
          const bytes = lfs?.size ?? size;
          if (!isPlainPath(name) || !Number.isSafeInteger(bytes) || bytes < 0)
            throw this.odd(`it lists ${JSON.stringify(name)} of ${bytes} bytes`);
          const hash = lfs?.oid ?? oid;
          files.push({ path: name, bytes, ...(isHash(hash) && { hash }) });
        }
        return files;
      });
    } catch (error) {
      if (path !== undefined && error instanceof Refusal && error.code === 'hub/no-dataset') return undefined;
      throw error;
    }
  }

  /** Where a file of a commit is asked for. */
  addressOf(commit: string, path: string): string {
    const encoded = path.split('/').map(encodeURIComponent).join('/');
    return `${this.settings.endpoint}/datasets/${this.asked.model}/resolve/${encodeURIComponent(commit)}/${encoded}`;
  }

  private async answered<T>(ask: (hub: typeof import('@huggingface/hub')) => Promise<T>): Promise<T> {
    try {
      return await ask(await import('@huggingface/hub'));
    } catch (cause) {
      if (cause instanceof Refusal) throw cause;
      throw this.odd(cause instanceof Error ? cause.message : String(cause), cause);
    }
  }

  private odd(what: string, cause?: unknown): Refusal {
    const { endpoint } = this.settings;
    return new Refusal(`${endpoint} does not answer as a hub does: ${what}.`, 'Check HF_ENDPOINT.', 'hub/not-a-hub', {
      cause,
    });
  }
}

const isHash = (hash: unknown) => typeof hash === 'string' && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash);

/** Parts of a path that lead out of nowhere. */
function isPlainPath(path: string): boolean {
  return path.length <= 4096 && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}
