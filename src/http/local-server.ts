import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { RefusalCode } from '../errors/codes.js';
import { Refusal, type StopSignal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { type StreamedReply, streamBody } from './streamed-reply.js';

const ADDRESS = '127.0.0.1';

/** Limits on concurrent requests and on their duration (milliseconds). */
export const LIMITS = {
  maxHeaderSize: 8192,
  headersTimeout: 10_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5000,
  /** How often these two are checked. */
  connectionsCheckingInterval: 2000,
  /** Idle time after which a connection is closed because its other end does not read. */
  idle: 30_000,
  /** Max time for a client to read a reply, however slowly. */
  answer: 60_000,
  connections: 64,
  /** Max pending requests per connection; no browser sends a second one before the first is answered. */
  waiting: 8,
};

export interface HttpReply {
  readonly status: number;
  /** Bytes, made once for all clients: one that does not read holds no copy. */
  readonly body: Uint8Array;
  /** Type of the body; plain text if absent. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A reply consisting of one sentence. */
export const sentenceReply = (
  status: number,
  sentence: string,
  headers: Readonly<Record<string, string>> = {},
): HttpReply => ({ status, body: Buffer.from(`${sentence}\n`), headers });

/** A listening server. */
export interface Listening {
  readonly url: string;
  /** Closes it, including open connections. */
  close(): Promise<void>;
}

/** Settings for serving pages on 127.0.0.1. */
export interface LocalPages {
  /** 0: any free port. */
  readonly port: number;
  readonly limits?: typeof LIMITS;
  /** What a browser may do with the pages (Content-Security-Policy). */
  readonly policy: string;
  /** Refusal codes for a port in use, and for one that may not be used. */
  readonly codes: readonly [inUse: RefusalCode, refused: RefusalCode];
  /** Called with the names that this server answers to, with the port: those that its pages may use. */
  answer(request: IncomingMessage, hosts: readonly string[]): Promise<HttpReply | StreamedReply>;
  /** The reply if `answer` throws; it reveals nothing of the error. */
  readonly failed: HttpReply;
}

/**
 * Serves pages on 127.0.0.1, and only under its own names: a page elsewhere can point its own name here (DNS
 * rebinding), and would then share our origin. Independent of what is served.
 *
 * @throws Refusal if the port is not available
 */
export async function listenLocally(pages: LocalPages): Promise<Listening> {
  const { port, limits = LIMITS } = pages;
  const server = createServer(limits);
  server.maxConnections = limits.connections;
  server.timeout = limits.idle;
  const taken = await listen(server, port, pages.codes);
  const hosts = [`${ADDRESS}:${taken}`, `localhost:${taken}`];
  // Browsers omit the default http port.
  if (taken === 80) hosts.push(ADDRESS, 'localhost');
  const waiting = new WeakMap<Socket, number>();
  server.on('request', (request, response) => {
    const { socket } = request;
    const before = waiting.get(socket) ?? 0;
    if (before >= limits.waiting) {
      socket.destroy();
      return;
    }
    waiting.set(socket, before + 1);
    let late: NodeJS.Timeout | undefined;
    response.once('close', () => {
      waiting.set(socket, waiting.get(socket)! - 1);
      clearTimeout(late);
    });
    // However long an answer takes, the time limit for its reader starts once it is ready.
    socket.setTimeout(0);
    replyTo(request, hosts, pages)
      .catch(() => pages.failed)
      .then(async (reply) => {
        if ('stream' in reply) {
          response.writeHead(reply.status, headersOf(reply, pages.policy));
          await streamBody(socket, response, reply, limits.idle);
        }
        socket.setTimeout(limits.idle);
        if (!response.closed) late = setTimeout(() => socket.destroy(), limits.answer).unref();
        if (!('stream' in reply)) send(request, response, reply, pages.policy);
      });
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
  request: IncomingMessage,
  hosts: readonly string[],
  { answer }: LocalPages,
): Promise<HttpReply | StreamedReply> {
  if (!hosts.includes(request.headers.host ?? '')) {
    return sentenceReply(403, `Open http://${hosts[0]}/ instead; through ssh -L, use the same port on both sides.`);
  }
  return answer(request, hosts);
}

/** Does a request have a body? */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0;
}

function send(request: IncomingMessage, response: ServerResponse, reply: HttpReply, policy: string): void {
  const { status, body } = reply;
  const length = status === 304 ? {} : { 'Content-Length': body.byteLength };
  response.writeHead(status, { ...headersOf(reply, policy), ...length });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function headersOf({ status, type, headers }: HttpReply | StreamedReply, policy: string): Record<string, string> {
  return {
    'Content-Security-Policy': policy,
    'X-Content-Type-Options': 'nosniff',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-store',
    ...(status !== 304 && { 'Content-Type': type ?? 'text/plain; charset=utf-8' }),
    ...headers,
  };
}

/** @returns the port */
function listen(server: Server, port: number, codes: LocalPages['codes']): Promise<number> {
  return new Promise((resolve, reject) => {
    server.on('error', (cause: NodeJS.ErrnoException) => reject(refusedPort(port, cause, codes)));
    server.listen(port, ADDRESS, () => resolve((server.address() as AddressInfo).port));
  });
}

function refusedPort(port: number, cause: NodeJS.ErrnoException, [inUse, refused]: LocalPages['codes']): unknown {
  const another = 'Choose another with --port; 0 uses any free port.';
  if (cause.code === 'EADDRINUSE')
    return new Refusal(`Port ${port} of ${ADDRESS} is in use.`, another, inUse, { cause });
  if (cause.code === 'EACCES') return new Refusal(`Port ${port} may not be used.`, another, refused, { cause });
  return cause;
}

/** How often the stop request is checked (milliseconds). */
const STOP_INTERVAL = 100;

/** Resolves when the user asks to stop. */
export function stopAsked(stop: StopRequest): Promise<StopSignal> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (stop.signal === undefined) return;
      clearInterval(timer);
      resolve(stop.signal);
    }, STOP_INTERVAL);
  });
}
