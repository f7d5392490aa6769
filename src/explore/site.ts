import type { IncomingMessage } from 'node:http';
import { Refusal } from '../errors/refusal.js';
import { jsonBody, NotTaken } from '../http/json-body.js';
import { type HttpReply, hasBody, LIMITS, type Listening, listenLocally } from '../http/local-server.js';
import type { StreamedReply } from '../http/streamed-reply.js';
import type { ExploreError, ExploreIndex, ExploreStatus, FeatureLabel, TextReply, TextRequest } from './api.js';
import { type ExploredFolder, type ExploredSae, indexOf } from './explorer.js';
import { askedList, WrongQuery } from './list-query.js';
import { attributeRequestOf, checkFeature, labelRequestOf, steerRequestOf, textRequestOf } from './requests.js';
import type { AttributeEvent, AttributeRequest, SteerEvent, SteerRequest } from './steering-api.js';

/** A static file of the pages: the browser's side. */
export interface SiteFile {
  readonly body: Uint8Array;
  readonly type: string;
}

/** Runs texts through the model. */
export interface TextTrial {
  status(): ExploreStatus;
  /** @throws NotTaken if too many are waiting, Refusal if the model cannot be opened */
  tryText(request: TextRequest): Promise<TextReply>;
}

/**
 * Events of a computation that runs while it is read; to be called once.
 *
 * @param tell resolves when the event has been read, or nobody reads any more
 * @param gone aborted when nobody reads any more
 */
export type EventsOf<E> = (tell: (event: E) => Promise<void>, gone: AbortSignal) => Promise<void>;

/** Steers texts and attributes logits to features. */
export interface Steering {
  /** @throws NotTaken if too many are waiting */
  steer(request: SteerRequest): EventsOf<SteerEvent>;
  /** @throws NotTaken if too many are waiting */
  attribute(request: AttributeRequest): EventsOf<AttributeEvent>;
}

/** The parts of a page server. */
export interface SiteParts {
  readonly explorer: ExploredFolder;
  /** By path, without the leading slash; index.html is also served at /. */
  readonly files: ReadonlyMap<string, SiteFile>;
  /** Why labels cannot be saved; null if they can. */
  readonly readOnly: string | null;
  /** Null without --model. */
  readonly trial: TextTrial | null;
  /** Null without --model. */
  readonly steering: Steering | null;
}

/** Max bytes of a POST body. */
const MOST_BODY = 2 ** 17;

/** Answers the requests of the pages. The only part of a request that reaches the file system is a feature number. */
export class ExploreSite {
  constructor(private readonly parts: SiteParts) {}

  /** @param hosts names of the server, with the port */
  async answer(request: IncomingMessage, hosts: readonly string[]): Promise<HttpReply | StreamedReply> {
    const { method, url = '' } = request;
    const [path = '', search] = url.split(/\?(.*)/s) as [string, string | undefined];
    try {
      if (method === 'POST') return await this.post(path, request, hosts);
      if (method !== 'GET' && method !== 'HEAD') {
        return { ...failure(405, 'Only GET, HEAD and POST.'), headers: { Allow: 'GET, HEAD, POST' } };
      }
      if (hasBody(request)) throw new NotTaken(413, 'A request has no body here.');
      return await this.get(path, search);
    } catch (error) {
      return failureOf(error);
    }
  }

  private async get(path: string, search: string | undefined): Promise<HttpReply> {
    const { explorer, files, trial } = this.parts;
    const file = search === undefined ? files.get(path === '/' ? 'index.html' : path.slice(1)) : undefined;
    if (file) return { status: 200, ...file };
    if (path === '/data/index.json') return json(indexOf(explorer, this.live()));
    if (path === '/api/status') return json(trial?.status() ?? { model: 'none', waiting: 0, seconds: 0 });
    const [, name = '', rest = ''] = /^\/data\/([A-Za-z0-9._-]+)\/([a-z0-9/.]+)$/.exec(path) ?? [];
    const sae = explorer.saes.get(name);
    if (!sae) return NOTHING;
    if (rest === 'list') return json(sae.lists.list(askedList(new URLSearchParams(search ?? ''))));
    if (search !== undefined) return NOTHING;
    if (rest === 'scatter.json') return json(sae.lists.scatter());
    if (rest === 'labels.json') return json(sae.labels.all());
    const feature = /^features\/(0|[1-9]\d{0,8})\.json$/.exec(rest)?.[1];
    return feature === undefined ? NOTHING : this.feature(sae, Number(feature));
  }

  private async feature(sae: ExploredSae, feature: number): Promise<HttpReply> {
    const { d_sae: features, folder } = sae.record;
    if (feature >= features) return failure(404, `${folder} has features 0 to ${features - 1}.`);
    return json(await sae.pages.page(feature));
  }

  private async post(
    path: string,
    request: IncomingMessage,
    hosts: readonly string[],
  ): Promise<HttpReply | StreamedReply> {
    const body = () => jsonBody(request, hosts, MOST_BODY);
    const { saes } = this.parts.explorer;
    if (path === '/api/labels') return json(await this.label(await body()));
    if (path === '/api/text') return json(await this.text(await body()));
    if (path === '/api/steer') return lines(this.steering().steer(steerRequestOf(await body(), saes)));
    if (path === '/api/attribute')
      return lines(this.steering().attribute(attributeRequestOf(await body(), this.parts.explorer)));
    throw new NotTaken(404, NOWHERE);
  }

  private async label(body: unknown): Promise<FeatureLabel> {
    const { readOnly, explorer } = this.parts;
    const { sae: name, feature, label, note } = labelRequestOf(body);
    if (readOnly !== null) throw new NotTaken(409, readOnly);
    const sae = checkFeature(name, feature, explorer.saes);
    const [saved] = await sae.labels.save([{ feature, label, note }]);
    return saved!;
  }

  private async text(body: unknown): Promise<TextReply> {
    const { trial, explorer } = this.parts;
    if (!trial) throw new NotTaken(409, 'Running texts requires a model: restart explore with --model.');
    return trial.tryText(textRequestOf(body, explorer.saes));
  }

  private steering(): Steering {
    const { steering } = this.parts;
    if (!steering) throw new NotTaken(409, 'Steering requires a model: restart explore with --model.');
    return steering;
  }

  private live(): ExploreIndex['live'] {
    return { list: true, labels: this.parts.readOnly === null, text: this.parts.trial !== null };
  }
}

const json = (value: unknown, status = 200): HttpReply => ({
  status,
  body: Buffer.from(JSON.stringify(value)),
  type: 'application/json; charset=utf-8',
});

const lines = <E>(events: EventsOf<E>): StreamedReply => ({
  ...{ status: 200, type: 'application/x-ndjson; charset=utf-8' },
  stream: (write, gone) => events((event) => write(`${JSON.stringify(event)}\n`), gone),
});

const failure = (status: number, error: string, remedy: string | null = null): HttpReply =>
  json({ error, remedy } satisfies ExploreError, status);

const NOWHERE = 'Not found; the page is at /.';
const NOTHING = failure(404, NOWHERE);

/** The reply for an error; unexpected errors are not disclosed. */
function failureOf(error: unknown): HttpReply {
  if (error instanceof WrongQuery) return failure(400, error.message);
  // The unread rest of a request's body would be taken for the next request.
  if (error instanceof NotTaken) return { ...failure(error.status, error.message), headers: { Connection: 'close' } };
  if (error instanceof Refusal) return failure(500, error.message, error.remedy ?? null);
  return failure(500, 'This could not be computed.');
}

/**
 * Serves the pages of a folder of features on 127.0.0.1.
 *
 * @param policy Content-Security-Policy
 * @param port 0: any free port
 * @throws Refusal if the port is not available
 */
export function serveFeatures(
  parts: SiteParts,
  policy: string,
  port: number,
  limits: typeof LIMITS = LIMITS,
): Promise<Listening> {
  const site = new ExploreSite(parts);
  return listenLocally({
    ...{ port, limits, policy },
    codes: ['explore/port-in-use', 'explore/port-refused'],
    answer: (request, hosts) => site.answer(request, hosts),
    failed: failure(500, 'This could not be computed.'),
  });
}
