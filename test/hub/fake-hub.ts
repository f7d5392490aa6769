import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { FakeUploads } from './fake-uploads.js';

export const MODEL = 'google/tiny';
export const COMMIT = 'c0ffee'.padEnd(40, '0');
const PIECE = 65_536;

/** One request as a server saw it. */
export interface Seen {
  readonly server: 'hub' | 'cdn';
  readonly url: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
}

/** What goes wrong, or is unusual; changed by tests as they go. */
export interface Faults {
  /** The required token; without it 401, with another 403. */
  gated?: string;
  /** Number of connections that the storage destroys, each after this many bytes. */
  cuts?: { times: number; after: number };
  /** The storage alters a byte of this file. */
  corrupt?: string;
  /** The storage knows no ranges. */
  ignoresRange?: boolean;
  /** Milliseconds between pieces of 64 KiB. */
  pause?: number;
  /** The storage accepts requests and never answers. */
  silent?: boolean;
  /** Put in place of what the listing says of a file. */
  lies?: Record<string, { size?: number; oid?: string; path?: string }>;
  /** Where the second page of the listing is said to be. */
  nextPage?: string;
  /** Answers in place of the hub, where it does. */
  instead?: (url: URL, response: ServerResponse) => boolean;
  /** The storage sends one byte at a time, with this many milliseconds between. */
  trickle?: number;
  /** How many times the storage answers this status. */
  fails?: { times: number; status: number };
}

/**
 * A hub of one repository, and its storage on another port, on 127.0.0.1: the endpoints that a download needs, and those
 * of an upload (`uploads`), after which it serves what was committed.
 */
export class FakeHub {
  /** The repository; '' while there is none. */
  name = MODEL;
  kind: 'models' | 'datasets' = 'models';
  commit = COMMIT;
  readonly branches = new Set(['main', 'v1', 'refs/pr/1']);
  readonly seen: Seen[] = [];
  faults: Faults = {};
  private readonly servers: Server[] = [];
  endpoint = '';
  storage = '';
  readonly uploads = new FakeUploads(this);

  private constructor(readonly files: Map<string, Buffer>) {}

  static async start(t: { after: (end: () => void) => void }, files: Map<string, Buffer>): Promise<FakeHub> {
    const fake = new FakeHub(files);
    t.after(() => fake.stop());
    fake.endpoint = await fake.listen('hub', (request, response) => fake.hub(request, response));
    fake.storage = await fake.listen('cdn', (request, response) => fake.cdn(request, response));
    return fake;
  }

  stop(): void {
    for (const server of this.servers) {
      server.closeAllConnections();
      server.close();
    }
  }

  /** Ranges of bytes requested from the storage, null for a complete file. */
  rangesOf(name: string): (string | undefined)[] {
    const url = `/blobs/${sha256(this.files.get(name)!)}`;
    return this.seen.filter((seen) => seen.server === 'cdn' && seen.url === url).map(({ range }) => range);
  }

  private async listen(
    server: 'hub' | 'cdn',
    answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
  ): Promise<string> {
    const http = createServer((request, response) => {
      const { authorization, range } = request.headers;
      this.seen.push({ server, url: request.url!, authorization, range });
      answer(request, response).catch(() => response.destroy());
    });
    this.servers.push(http);
    await new Promise<void>((ready) => http.listen(0, '127.0.0.1', ready));
    return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  }

  private async hub(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, this.endpoint);
    const { pathname, searchParams } = url;
    if (this.faults.instead?.(url, response)) return;
    const fail = (status: number, code: string) => {
      response.writeHead(status, { 'x-error-code': code }).end(code);
    };
    if (await this.uploads.answer(request, response)) return;
    const { name: repository, commit, kind } = this;
    const api = `/api/${kind}/${repository}`;
    const files = `/${kind === 'models' ? '' : 'datasets/'}${repository}/resolve/${commit}/`;
    if (!pathname.startsWith(`${api}/`) && !pathname.startsWith(files)) {
      return fail(request.headers.authorization ? 404 : 401, 'RepoNotFound');
    }
    if (pathname.startsWith(`${api}/revision/`)) {
      const revision = decodeURIComponent(pathname.slice(`${api}/revision/`.length));
      if (!this.branches.has(revision) && revision !== commit) return fail(404, 'RevisionNotFound');
      return json(response, { _id: '1', id: repository, sha: commit, lastModified: '2024-08-01T00:00:00.000Z' });
    }
    const tree = `${api}/tree/${commit}`;
    if (pathname === tree || pathname.startsWith(`${tree}/`)) {
      const folder = decodeURIComponent(pathname.slice(tree.length + 1));
      const below = folder === '' ? '' : `${folder}/`;
      const names =
        searchParams.get('recursive') === 'true'
          ? [...this.files.keys()].filter((name) => name.startsWith(below))
          : this.filesIn(folder);
      const all = names.map((name) => this.entry(name));
      if (folder !== '' && all.length === 0) return fail(404, 'EntryNotFound');
      const second = searchParams.get('cursor') === '2';
      const recursive = searchParams.get('recursive') ?? 'false';
      const next = this.faults.nextPage ?? `${this.endpoint}${pathname}?cursor=2&recursive=${recursive}`;
      if (!second) response.setHeader('link', `<${next}>; rel="next"`);
      // The directory is none of ours; the first page holds half.
      const half = Math.ceil(all.length / 2);
      return json(response, second ? all.slice(half) : [{ type: 'directory', path: 'onnx' }, ...all.slice(0, half)]);
    }
    const name = decodeURIComponent(pathname.slice(files.length));
    const content = this.files.get(name);
    if (!content || !pathname.startsWith(files)) return fail(404, 'EntryNotFound');
    if (this.faults.gated && request.headers.authorization !== `Bearer ${this.faults.gated}`) {
      return fail(request.headers.authorization ? 403 : 401, 'GatedRepo');
    }
    response.setHeader('x-repo-commit', commit);
    if (!isLarge(name)) {
      response.writeHead(200, { etag: `"${gitHash(content)}"`, 'content-length': content.length }).end(content);
      return;
    }
    response.writeHead(302, {
      location: `${this.storage}/blobs/${sha256(content)}`,
      'x-linked-etag': `"${sha256(content)}"`,
      'x-linked-size': content.length,
    });
    response.end();
  }

  private async cdn(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { faults } = this;
    if (faults.silent) return;
    if (request.method === 'PUT') return this.uploads.store(request, response);
    if (request.method === 'POST') return void (await this.uploads.answer(request, response));
    if (faults.fails && faults.fails.times-- > 0) {
      response.writeHead(faults.fails.status).end();
      return;
    }
    const [name, content] = [...this.files].find(([, bytes]) => request.url === `/blobs/${sha256(bytes)}`)!;
    const sent = Buffer.from(content);
    if (faults.corrupt === name) sent[sent.length - 1]! ^= 1;
    const range = faults.ignoresRange ? null : /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const from = Number(range?.[1] ?? 0);
    if (range) response.setHeader('content-range', `bytes ${from}-${sent.length - 1}/${sent.length}`);
    response.writeHead(range ? 206 : 200, { 'content-length': sent.length - from });
    const cut = faults.cuts && faults.cuts.times-- > 0 ? from + faults.cuts.after : Number.POSITIVE_INFINITY;
    for (let at = from; faults.trickle && at < sent.length && !response.destroyed; at++) {
      response.write(sent.subarray(at, at + 1));
      await sleep(faults.trickle);
    }
    for (let at = from; at < sent.length; at += PIECE) {
      if (at >= cut) return void response.destroy();
      await new Promise((written) => response.write(sent.subarray(at, Math.min(at + PIECE, cut)), written));
      if (faults.pause) await sleep(faults.pause);
    }
    response.end();
  }

  /** Names of the files that lie directly in a folder. */
  private filesIn(folder: string): string[] {
    return [...this.files.keys()].filter((name) => name.slice(0, Math.max(0, name.lastIndexOf('/'))) === folder);
  }

  private entry(name: string) {
    const content = this.files.get(name)!;
    const oid = gitHash(isLarge(name) ? Buffer.from(`pointer to ${name}`) : content);
    const entry = { type: 'file', path: name, size: content.length, oid };
    const large = isLarge(name) ? { lfs: { oid: sha256(content), size: content.length, pointerSize: 134 } } : {};
    const lie = this.faults.lies?.[name];
    if (!lie) return { ...entry, ...large };
    return { ...entry, ...lie, ...(isLarge(name) && { lfs: { ...large.lfs!, ...lie } }) };
  }
}

export const isLarge = (name: string) => /\.(safetensors|npz|pt|arrow)$/.test(name) || name === 'tokenizer.json';
export const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
export const gitHash = (bytes: Buffer) =>
  createHash('sha1')
    .update(Buffer.concat([Buffer.from(`blob ${bytes.length}\0`), bytes]))
    .digest('hex');

export function json(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
