import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isLarge, json, sha256 } from './fake-hub.js';

/** What goes wrong with uploads, or is unusual; changed by tests as they go. */
export interface UploadFaults {
  /** The token that may write; another one may not. */
  writer?: string;
  /** Number of upload connections that the storage destroys, each after this many bytes. */
  cuts?: { times: number; after: number; met?: () => void };
  /** An error of the commit: its status and sentence. */
  refusesCommit?: { status: number; error: string };
  /** Somebody else commits while this upload is under way. */
  raced?: boolean;
  /** Large files are taken in parts of this many bytes. */
  partBytes?: number;
  /** Called when a commit is made, whose answer then takes a third of a second. */
  committed?: () => void;
  /** Called when a file has come whole. */
  arrived?: () => void;
}

/** The hub as uploads see it. */
interface Written {
  readonly files: Map<string, Buffer>;
  /** The repository's name; '' while it does not exist. */
  name: string;
  commit: string;
  readonly branches: Set<string>;
  readonly storage: string;
}

interface Json {
  readonly [key: string]: unknown;
}

/** The endpoints of a hub and its storage that an upload needs, for one repository. */
export class FakeUploads {
  faults: UploadFaults = {};
  /** Large files by their SHA-256: committed or not. */
  readonly stored = new Map<string, Buffer>();
  /** What has been sent to the storage, whole: SHA-256s in their order. */
  readonly received: string[] = [];
  readonly commits: { title: string; branch: string; paths: string[] }[] = [];
  created: Json | undefined;
  private readonly parts = new Map<string, Buffer[]>();

  constructor(private readonly hub: Written) {}

  /** Answers a request to the hub that writes. @returns whether it was one */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const path = decodeURIComponent(new URL(request.url!, 'http://hub').pathname);
    if (request.method !== 'POST') return false;
    const body = await bodyOf(request);
    if (path.startsWith('/complete/')) {
      const oid = path.slice('/complete/'.length);
      this.keep(oid, Buffer.concat(this.parts.get(oid)!));
      return answered(response, 200, {});
    }
    const { writer } = this.faults;
    const given = request.headers.authorization;
    if (given === undefined || (writer !== undefined && given !== `Bearer ${writer}`)) {
      return answered(response, given ? 403 : 401, { error: 'You do not have the rights to write here.' });
    }
    if (path === '/api/repos/create') {
      const asked = JSON.parse(body) as { name: string; organization: string };
      this.created = asked as unknown as Json;
      this.hub.name = `${asked.organization}/${asked.name}`;
      this.hub.branches.add('main');
      return answered(response, 200, { url: 'http://hub', id: '1' });
    }
    const [, branch] = /\/branch\/(.*)$/.exec(path) ?? [];
    if (branch !== undefined) {
      this.hub.branches.add(branch);
      return answered(response, 200, {});
    }
    if (path.includes('/preupload/')) {
      const { files } = JSON.parse(body) as { files: { path: string }[] };
      const modes = files.map(({ path }) => ({ path, uploadMode: isLarge(path) ? 'lfs' : 'regular' }));
      return answered(response, 200, { files: modes });
    }
    if (path.endsWith('/info/lfs/objects/batch')) return answered(response, 200, this.batch(body));
    if (path.includes('/commit/')) return this.commit(response, path.slice(path.indexOf('/commit/') + 8), body);
    return false;
  }

  /** Takes a file, or a part of one, that is sent to the storage. */
  async store(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { cuts } = this.faults;
    const [, oid, part] = /^\/upload\/([0-9a-f]{64})\/(\d+)$/.exec(request.url!)!;
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of request) {
      pieces.push(piece as Buffer);
      bytes += (piece as Buffer).length;
      if (cuts && cuts.times > 0 && bytes >= cuts.after) {
        cuts.times--;
        cuts.met?.();
        return void request.destroy();
      }
    }
    const content = Buffer.concat(pieces);
    if (content.length !== Number(request.headers['content-length'])) return void request.destroy();
    if (part === '0') this.keep(oid!, content);
    else this.parts.set(oid!, Object.assign(this.parts.get(oid!) ?? [], { [Number(part) - 1]: content }));
    response.writeHead(200, { etag: `"${part}"` }).end();
    this.faults.arrived?.();
  }

  private keep(oid: string, content: Buffer): void {
    if (sha256(content) !== oid) return;
    this.stored.set(oid, content);
    this.received.push(oid);
  }

  private batch(body: string): unknown {
    const { objects } = JSON.parse(body) as { objects: { oid: string; size: number }[] };
    const { partBytes } = this.faults;
    const place = (oid: string, part: number) => `${this.hub.storage}/upload/${oid}/${part}`;
    const action = (oid: string, size: number) => {
      if (partBytes === undefined) return { href: place(oid, 0) };
      const parts = Array.from({ length: Math.ceil(size / partBytes) }, (_, i) => i + 1);
      const header = Object.fromEntries(parts.map((part) => [String(part).padStart(5, '0'), place(oid, part)]));
      return { href: `${this.hub.storage}/complete/${oid}`, header: { ...header, chunk_size: String(partBytes) } };
    };
    return {
      transfer: 'basic',
      objects: objects.map(({ oid, size }) => ({
        ...{ oid, size },
        ...(this.stored.has(oid) ? {} : { actions: { upload: action(oid, size) } }),
      })),
    };
  }

  private commit(response: ServerResponse, branch: string, body: string): boolean {
    const { refusesCommit } = this.faults;
    if (refusesCommit) return answered(response, refusesCommit.status, { error: refusesCommit.error });
    const lines = body.split('\n').map((line) => JSON.parse(line) as { key: string; value: Json });
    const { summary, parentCommit } = lines.find(({ key }) => key === 'header')!.value;
    if (this.faults.raced) this.hub.commit = createHash('sha1').update('raced').digest('hex');
    if (parentCommit !== this.hub.commit) {
      return answered(response, 412, { error: 'A commit has happened since. Please refresh and try again.' });
    }
    const entries = lines
      .filter(({ key }) => key !== 'header')
      .map(({ key, value }) => {
        const content =
          key === 'lfsFile' ? this.stored.get(String(value.oid)) : Buffer.from(String(value.content), 'base64');
        return [String(value.path), content] as const;
      });
    if (entries.some(([, content]) => content === undefined)) {
      return answered(response, 400, { error: 'An LFS pointer points to a file that does not exist.' });
    }
    for (const [path, content] of entries) this.hub.files.set(path, content!);
    this.commits.push({ title: String(summary), branch, paths: entries.map(([path]) => path) });
    this.hub.commit = createHash('sha1').update(`${this.hub.commit}${body}`).digest('hex');
    const { committed } = this.faults;
    const answer = () =>
      answered(response, 200, { commitOid: this.hub.commit, commitUrl: 'http://hub/commit', hookOutput: '' });
    if (!committed) return answer();
    committed();
    setTimeout(answer, 333);
    return true;
  }
}

function answered(response: ServerResponse, status: number, value: unknown): true {
  json(response, value, status);
  return true;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('utf8');
}
