import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const COMMITS = { main: 'da7a'.padEnd(40, '0'), converted: 'c0de'.padEnd(40, '0') } as const;
export const TOKEN = 'hf_secret';

/** One data set: its files by path, those of the hub's conversion, and what its card says. */
export interface FakeDataset {
  readonly files: ReadonlyMap<string, Buffer>;
  readonly converted?: ReadonlyMap<string, Buffer>;
  readonly card?: unknown;
  readonly gated?: true;
}

/** A request for bytes of a file, as storage saw it. */
export interface BytesSeen {
  readonly path: string;
  readonly from: number;
  readonly to: number;
}

/** What goes wrong; changed by tests as they go. */
export interface DatasetFaults {
  /** Number of answers that storage ends early, after this many bytes. */
  cuts?: { times: number; after: number };
  /** How many times storage answers this status. */
  fails?: { times: number; status: number };
  /** Bytes that the listing adds to every size. */
  sizeLie?: number;
  /** The listing has other hashes than those of the files. */
  otherHashes?: true;
  /** Storage answers ranges in this way. */
  ranges?: 'ignored' | 'shifted' | 'too long';
  /** Storage says this of the size of the file. */
  total?: number;
  /** Milliseconds before each answer of storage. */
  latency?: number;
  /** Bytes that storage adds to the Content-Length of its answers. */
  lengthLie?: number;
  /** Storage redirects to yet another origin, which has the bytes. */
  onward?: true;
  /** What leads back to itself: storage redirects, or the pages of a listing. */
  circles?: 'storage' | 'listing';
  /** Addresses of storage expire after this many requests. */
  expires?: number;
}

/** A hub of data sets and its storage on another origin, on 127.0.0.1. */
export class FakeDatasets {
  readonly bytes: BytesSeen[] = [];
  /** Authorization headers by server. */
  readonly authorizations: { hub: (string | undefined)[]; storage: (string | undefined)[] } = { hub: [], storage: [] };
  apiRequests = 0;
  faults: DatasetFaults = {};
  endpoint = '';
  private storage = '';
  private mirror = '';
  private round = 0;
  private readonly served = new Map<string, number>();
  private readonly servers: Server[] = [];

  private constructor(readonly datasets: Readonly<Record<string, FakeDataset>>) {}

  static async start(
    t: { after: (end: () => void) => void },
    datasets: Readonly<Record<string, FakeDataset>>,
  ): Promise<FakeDatasets> {
    const fake = new FakeDatasets(datasets);
    t.after(() => fake.stop());
    fake.endpoint = await fake.listen((request, response) => fake.hub(request, response));
    fake.storage = await fake.listen((request, response) => fake.storageAnswer(request, response));
    fake.mirror = await fake.listen((request, response) => fake.storageAnswer(request, response, true));
    return fake;
  }

  stop(): void {
    for (const server of this.servers) {
      server.closeAllConnections();
      server.close();
    }
  }

  private async listen(answer: (request: IncomingMessage, response: ServerResponse) => unknown): Promise<string> {
    const server = createServer(answer);
    this.servers.push(server);
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  private hub(request: IncomingMessage, response: ServerResponse): unknown {
    const { authorization } = request.headers;
    this.authorizations.hub.push(authorization);
    const url = new URL(request.url!, this.endpoint);
    const [, api, name, rest = ''] =
      /^\/(api\/)?datasets\/([^/]+\/[^/]+)\/(.*)$/.exec(url.pathname) ?? /^()()()$/.exec('')!;
    const dataset = this.datasets[name ?? ''];
    const fail = (status: number, code: string) => {
      response.writeHead(status, { 'x-error-code': code }).end(code);
    };
    if (!dataset) return fail(authorization ? 404 : 401, 'RepoNotFound');
    const [verb, revision = '', ...path] = rest.split('/');
    if (api) this.apiRequests++;
    if (api && verb === 'revision') {
      const commit = { main: COMMITS.main, [COMMITS.main]: COMMITS.main, 'refs/convert/parquet': COMMITS.converted }[
        decodeURIComponent(revision)
      ];
      if (!commit || (commit === COMMITS.converted && !dataset.converted)) return fail(404, 'RevisionNotFound');
      return json(response, {
        ...{ _id: '1', id: name, sha: commit, private: false, gated: false, downloads: 0, likes: 0 },
        ...{ lastModified: '2024-08-01T00:00:00.000Z', cardData: dataset.card },
      });
    }
    const files = revision === COMMITS.converted ? dataset.converted! : dataset.files;
    if (api && verb === 'tree') {
      const below = path.map(decodeURIComponent).join('/');
      const entries = [...files].filter(([file]) => below === '' || file.startsWith(`${below}/`));
      if (below !== '' && entries.length === 0) return fail(404, 'EntryNotFound');
      const size = (bytes: Buffer) => bytes.length + (this.faults.sizeLie ?? 0);
      const listed = entries.map(([file, bytes]) => ({
        type: 'file',
        path: file,
        size: size(bytes),
        oid: this.hashOf(bytes),
      }));
      if (this.faults.circles === 'listing') {
        response.setHeader('link', `<${this.endpoint}${request.url}>; rel="next"`);
      }
      return json(response, [...(below === '' ? [{ type: 'directory', path: 'data', size: 0 }] : []), ...listed]);
    }
    const file = path.map(decodeURIComponent).join('/');
    if (verb !== 'resolve' || !files.has(file)) return fail(404, 'EntryNotFound');
    if (dataset.gated && authorization !== `Bearer ${TOKEN}`) return fail(authorization ? 403 : 401, 'GatedRepo');
    const tree = revision === COMMITS.converted ? 'converted' : 'main';
    response.writeHead(302, { location: `${this.storage}/${++this.round}/${tree}/${name}/${encodeURI(file)}` }).end();
  }

  private hashOf(bytes: Buffer): string {
    return gitHash(this.faults.otherHashes ? Buffer.concat([bytes, bytes]) : bytes);
  }

  private storageAnswer(request: IncomingMessage, response: ServerResponse, isMirror = false): unknown {
    const { faults } = this;
    this.authorizations.storage.push(request.headers.authorization);
    const redirect = (origin: string) => response.writeHead(302, { location: `${origin}${request.url}` }).end();
    if (faults.circles === 'storage') return redirect(this.storage);
    if (faults.onward && !isMirror) return redirect(this.mirror);
    const [, round, tree, owner, name, ...path] = decodeURI(request.url!).split('/');
    const dataset = this.datasets[`${owner}/${name}`]!;
    const content = (tree === 'converted' ? dataset.converted! : dataset.files).get(path.join('/'))!;
    const end = (status: number) => response.writeHead(status).end();
    if (faults.fails && faults.fails.times-- > 0) return end(faults.fails.status);
    const uses = (this.served.get(round!) ?? 0) + 1;
    this.served.set(round!, uses);
    if (uses > (faults.expires ?? Number.POSITIVE_INFINITY)) return end(403);
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    if (first === undefined || faults.ranges === 'ignored') return response.writeHead(200).end(content);
    const [from, to] = [Number(first), Math.min(Number(last), content.length - 1)];
    this.bytes.push({ path: path.join('/'), from, to });
    const shift = faults.ranges === 'shifted' ? 1 : 0;
    const more = faults.ranges === 'too long' ? 10 : 0;
    const sent = content.subarray(from, to + 1 + more);
    const lie = faults.lengthLie;
    response.writeHead(206, {
      ...(lie !== undefined && { 'content-length': Math.max(0, sent.length + lie) }),
      'content-range': `bytes ${from + shift}-${to + shift}/${faults.total ?? content.length}`,
    });
    const cut = faults.cuts && faults.cuts.times-- > 0 ? faults.cuts.after : Number.POSITIVE_INFINITY;
    const answer = () => {
      // Of an answer that is shorter than it says, more would be waited for.
      if (lie !== undefined) response.write(sent, () => response.destroy());
      else if (sent.length <= cut) response.end(sent);
      else response.write(sent.subarray(0, cut), () => response.destroy());
    };
    return faults.latency ? setTimeout(answer, faults.latency) : answer();
  }
}

const gitHash = (bytes: Buffer) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
