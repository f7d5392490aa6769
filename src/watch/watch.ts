import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { basename, resolve } from 'node:path';
import type { WatchConfig } from '../config/stages.js';
import { Interrupted, Refusal, type StopSignal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { LiveView, type PageView } from './live-view.js';
import { CONTENT_SECURITY_POLICY, FRAGMENT_PATH, watchPage } from './watch-page.js';
import { WatchedRuns } from './watched-runs.js';

/** How often the stop request is checked (milliseconds). */
const STOP_INTERVAL = 100;

/**
 * Serves a live page of the runs in and below a directory until the user stops it.
 *
 * @param print told the page's address
 * @throws Refusal where there is no such directory or the port is in use; Interrupted in the end
 */
export async function watch(
  { directory, port }: WatchConfig,
  stop: StopRequest,
  print: (line: string) => void,
): Promise<never> {
  const found = await stat(directory).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw new Refusal(
      found ? `${directory} is not a directory.` : `There is no directory ${directory}.`,
      'Give the --out of train, or a directory that holds several.',
      'watch/no-directory',
    );
  }
  const root = resolve(directory);
  const server = await serve(new LiveView(new WatchedRuns(root), root), basename(root) || root, port);
  print(server.url);
  const signal = await stopOf(stop);
  await server.close();
  throw new Interrupted(signal, 'the page is closed; what it showed continues.');
}

function stopOf(stop: StopRequest): Promise<StopSignal> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (stop.signal === undefined) return;
      clearInterval(timer);
      resolve(stop.signal);
    }, STOP_INTERVAL);
  });
}

const ADDRESS = '127.0.0.1';

/** Bounds on what anyone may ask for at once, and how long they may take (milliseconds). */
const LIMITS = {
  maxHeaderSize: 8192,
  headersTimeout: 10_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5000,
  /** How often the two above are checked. */
  connectionsCheckingInterval: 2000,
  /** A connection on which nothing moves, because its other end does not read, is closed after so long. */
  idle: 30_000,
  /** A client has so long to take an answer, however slowly it reads. */
  answer: 60_000,
  connections: 64,
  /** Requests of one connection that wait for their answers; no browser sends a second one before the first is answered. */
  waiting: 8,
};

const HEADERS = {
  'Content-Security-Policy': CONTENT_SECURITY_POLICY,
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-store',
};

interface HttpReply {
  readonly status: number;
  /** Bytes, made once for all who ask: a client that does not read holds no copy. */
  readonly body: Uint8Array;
  readonly type?: 'text/html; charset=utf-8' | 'text/plain; charset=utf-8';
  readonly headers?: Readonly<Record<string, string>>;
}

const said = (status: number, sentence: string, headers: Readonly<Record<string, string>> = {}): HttpReply => ({
  status,
  body: Buffer.from(`${sentence}\n`),
  headers,
});

/** A server that listens. */
interface Listening {
  readonly url: string;
  /** Ends it, connections that are open included. */
  close(): Promise<void>;
}

/**
 * Serves the page of a view on 127.0.0.1. There are two fixed paths; nothing of a request but its method, its path, its
 * Host and its If-None-Match is read, and none of it reaches the disk.
 *
 * @param port 0: any that is free
 * @throws Refusal where the port cannot be had
 */
export async function serve(view: LiveView, title: string, port: number, limits = LIMITS): Promise<Listening> {
  const server = createServer(limits);
  server.maxConnections = limits.connections;
  server.timeout = limits.idle;
  const taken = await listen(server, port);
  const hosts = [`${ADDRESS}:${taken}`, `localhost:${taken}`];
  // Browsers leave the port of http out.
  if (taken === 80) hosts.push(ADDRESS, 'localhost');
  const bodies = new Bodies(title);
  const waiting = new WeakMap<Socket, number>();
  server.on('request', (request, response) => {
    const { socket } = request;
    const before = waiting.get(socket) ?? 0;
    if (before >= limits.waiting) {
      socket.destroy();
      return;
    }
    waiting.set(socket, before + 1);
    const late = setTimeout(() => socket.destroy(), limits.answer).unref();
    response.once('close', () => {
      waiting.set(socket, waiting.get(socket)! - 1);
      clearTimeout(late);
    });
    replyTo(request, { view, bodies, hosts })
      .catch(() => said(500, 'The runs could not be read.'))
      .then((reply) => send(request, response, reply));
  });
  return {
    url: `http://${ADDRESS}:${taken}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function replyTo(
  { method, url, headers }: IncomingMessage,
  { view, bodies, hosts }: { view: LiveView; bodies: Bodies; hosts: readonly string[] },
): Promise<HttpReply> {
  // A page elsewhere can make a name of its own point here (DNS rebinding), and would then be of our origin.
  if (!hosts.includes(headers.host ?? '')) {
    return said(403, `Open http://${hosts[0]}/ instead; through ssh -L, use the same port on both sides.`);
  }
  if (method !== 'GET' && method !== 'HEAD') return said(405, 'Only GET and HEAD.', { Allow: 'GET, HEAD' });
  if (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0) {
    return said(413, 'A request has no body here.', { Connection: 'close' });
  }
  if (url !== '/' && url !== FRAGMENT_PATH) return said(404, 'There is nothing here; the page is at /.');
  const current = await view.current();
  const type = 'text/html; charset=utf-8';
  if (url === '/') return { status: 200, body: bodies.of(current).page(), type };
  const tagged = { ETag: current.tag };
  if (headers['if-none-match'] === current.tag) return { status: 304, body: Buffer.alloc(0), headers: tagged };
  return { status: 200, body: bodies.of(current).fragment(), type, headers: tagged };
}

/** What is sent of the newest view, each made when it is first asked for. */
class Bodies {
  private view: PageView | undefined;
  private made: { page?: Buffer; fragment?: Buffer } = {};

  constructor(private readonly title: string) {}

  of(view: PageView): { page: () => Buffer; fragment: () => Buffer } {
    if (this.view !== view) [this.view, this.made] = [view, {}];
    const { made } = this;
    return {
      page: () => (made.page ??= Buffer.from(watchPage(this.title, view))),
      fragment: () => (made.fragment ??= Buffer.from(view.html)),
    };
  }
}

function send(request: IncomingMessage, response: ServerResponse, reply: HttpReply): void {
  const { status, body, type = 'text/plain; charset=utf-8', headers } = reply;
  const content = status === 304 ? {} : { 'Content-Type': type, 'Content-Length': body.byteLength };
  response.writeHead(status, { ...HEADERS, ...content, ...headers });
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** @returns the port */
function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.on('error', (cause: NodeJS.ErrnoException) => reject(refusedPort(port, cause)));
    server.listen(port, ADDRESS, () => resolve((server.address() as AddressInfo).port));
  });
}

function refusedPort(port: number, cause: NodeJS.ErrnoException): unknown {
  const another = 'Choose another with --port; 0 takes any that is free.';
  if (cause.code === 'EADDRINUSE')
    return new Refusal(`Port ${port} of ${ADDRESS} is in use.`, another, 'watch/port-in-use', { cause });
  if (cause.code === 'EACCES')
    return new Refusal(`Port ${port} may not be used.`, another, 'watch/port-refused', { cause });
  return cause;
}
