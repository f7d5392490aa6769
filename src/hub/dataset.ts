import { Refusal } from '../errors/refusal.js';
import { isCommit } from './cache.js';
import { API_BOUNDS, type Asked, boundedFetch, type HubSettings, hubFetch } from './request.js';

/** The hub's information about a data set at a revision. */
export interface DatasetInfo {
  readonly commit: string;
  /** The front matter of its README.md, parsed by the hub; not trusted. */
  readonly card: unknown;
}

/** A file of a data set. */
export interface DatasetFile {
  readonly path: string;
  readonly bytes: number;
  /** Hash of its content as listed by the hub: SHA-256 for large-file storage, otherwise git's. */
  readonly hash?: string;
}

/** A bounded series of hub requests about a data set. */
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

  /** @throws Refusal if there is no such data set or revision, or the hub cannot be reached */
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
   * Every file at a commit, or in a directory.
   *
   * @returns undefined if there is no such directory
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

  /** The URL of a file at a commit. */
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
    return new Refusal(`${endpoint} does not respond like a hub: ${what}.`, 'Check HF_ENDPOINT.', 'hub/not-a-hub', {
      cause,
    });
  }
}

const isHash = (hash: unknown) => typeof hash === 'string' && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash);

/** Rejects path components that lead outside. */
function isPlainPath(path: string): boolean {
  return path.length <= 4096 && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}
