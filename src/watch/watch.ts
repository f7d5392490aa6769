import { stat } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { basename, resolve } from 'node:path';
import type { WatchConfig } from '../config/stages/pages.js';
import { Interrupted, Refusal } from '../errors/refusal.js';
import {
  type HttpReply,
  hasBody,
  LIMITS,
  type Listening,
  listenLocally,
  sentenceReply,
  stopAsked,
} from '../http/local-server.js';
import type { StopRequest } from '../progress/progress.js';
import { LiveView, type PageView } from './live-view.js';
import { CONTENT_SECURITY_POLICY, FRAGMENT_PATH, watchPage } from './watch-page.js';
import { WatchedRuns } from './watched-runs.js';

/**
 * Serves a live page of the runs in and below a directory until the user stops it.
 *
 * @param print receives the page's address
 * @throws Refusal if the directory does not exist or the port is in use; Interrupted in the end
 */
export async function watch(
  { directory, port }: WatchConfig,
  stop: StopRequest,
  print: (line: string) => void,
): Promise<never> {
  const found = await stat(directory).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw new Refusal(
      found ? `${directory} is not a directory.` : `The directory ${directory} does not exist.`,
      'Give the --out of train, or a directory that contains several.',
      'watch/no-directory',
    );
  }
  const root = resolve(directory);
  const server = await serve(new LiveView(new WatchedRuns(root), root), basename(root) || root, port);
  print(server.url);
  const signal = await stopAsked(stop);
  await server.close();
  throw new Interrupted(signal, 'the page is closed; the runs continue.');
}

/**
 * Serves the page of a view on 127.0.0.1. There are two fixed paths; only a request's method, path, Host and
 * If-None-Match are read, and none of them reaches the disk.
 *
 * @param port 0: any free port
 * @throws Refusal if the port is not available
 */
export function serve(view: LiveView, title: string, port: number, limits = LIMITS): Promise<Listening> {
  const bodies = new Bodies(title);
  return listenLocally({
    ...{ port, limits, policy: CONTENT_SECURITY_POLICY },
    codes: ['watch/port-in-use', 'watch/port-refused'],
    answer: (request) => replyTo(request, view, bodies),
    failed: sentenceReply(500, 'The runs could not be read.'),
  });
}

async function replyTo(request: IncomingMessage, view: LiveView, bodies: Bodies): Promise<HttpReply> {
  const { method, url, headers } = request;
  if (method !== 'GET' && method !== 'HEAD') return sentenceReply(405, 'Only GET and HEAD.', { Allow: 'GET, HEAD' });
  if (hasBody(request)) return sentenceReply(413, 'A request has no body here.', { Connection: 'close' });
  if (url !== '/' && url !== FRAGMENT_PATH) return sentenceReply(404, 'Not found; the page is at /.');
  const current = await view.current();
  const type = 'text/html; charset=utf-8';
  if (url === '/') return { status: 200, body: bodies.of(current).page(), type };
  const tagged = { ETag: current.tag };
  if (headers['if-none-match'] === current.tag) return { status: 304, body: Buffer.alloc(0), headers: tagged };
  return { status: 200, body: bodies.of(current).fragment(), type, headers: tagged };
}

/** Responses for the newest view, each built on first use. */
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
