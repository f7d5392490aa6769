import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { readTextFile } from '../disk/json.js';
import { formatBytes } from '../disk/space.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';

/** The hub's address, the cache directory, and the access token. */
export interface HubSettings {
  /** Without a trailing slash. */
  readonly endpoint: string;
  /** Directory of `models--org--name/`. */
  readonly cache: string;
  /** Never use the network. */
  readonly offline: boolean;
  readonly token: string | undefined;
  readonly patience: Patience;
}

/** Timeouts and retries of a download. */
export interface Patience {
  /** Consecutive connections without a single new byte before giving up. */
  readonly attempts: number;
  /** Milliseconds before the second attempt; doubles with each further one. */
  readonly delay: number;
  /** Milliseconds without a byte or response after which a connection is abandoned. */
  readonly stall: number;
  /** Milliseconds between checks of another process's download. */
  readonly poll: number;
}

const HUB_PATIENCE: Patience = { attempts: 6, delay: 1000, stall: 60_000, poll: 1000 };

type HubEnvironment = Readonly<Record<string, string | undefined>>;

/**
 * The settings that Hugging Face's own tools read from the environment, with the same names and defaults
 * (huggingface_hub documentation, "Environment variables"), so that they share cache and login.
 *
 * @throws UsageRefusal if HF_ENDPOINT is not a URL, or HF_TOKEN cannot be a token
 */
export async function hubSettings(environment: HubEnvironment, offline: boolean): Promise<HubSettings> {
  const set = (name: string) => environment[name]?.trim() || undefined;
  // Resolved only if nothing else gives the location: not every user has a home directory.
  const home = () =>
    path(set('HF_HOME') ?? join(set('XDG_CACHE_HOME') ?? join(homeOrRefusal(), '.cache'), 'huggingface'));
  const endpoint = checkEndpoint((set('HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, ''));
  const cache = set('HF_HUB_CACHE') ?? set('HUGGINGFACE_HUB_CACHE');
  const token = set('HF_TOKEN');
  const tokenFile = () => path(set('HF_TOKEN_PATH') ?? join(home(), 'token'));
  return {
    endpoint,
    cache: path(cache ?? join(home(), 'hub')),
    offline: offline || /^(1|true|yes|on)$/i.test(set('HF_HUB_OFFLINE') ?? ''),
    token: token === undefined ? await savedToken(tokenFile) : checkToken(token, 'HF_TOKEN'),
    patience: HUB_PATIENCE,
  };
}

/** The token stored by `hf auth login`. A file that is not readable is not a login. */
async function savedToken(tokenFile: () => string): Promise<string | undefined> {
  let file: string;
  try {
    file = tokenFile();
  } catch {
    return undefined;
  }
  const token = (await readTextFile(file).catch(() => null))?.trim();
  return token ? checkToken(token, file) : undefined;
}

/**
 * A token is sent in a header line; an invalid one must not be repeated in a message either.
 *
 * @param from the variable or file that contains it
 */
function checkToken(token: string, from: string): string {
  if (/^[\x21-\x7e]{1,1000}$/.test(token)) return token;
  throw new UsageRefusal(
    `${from} does not contain an access token: it has a space, a line break or another character that no token has.`,
    'Set it to the token alone, e.g. hf_… .',
    'hub/malformed-token',
  );
}

/** An endpoint may appear in any message, so anything that could contain a secret is refused and not repeated. */
function checkEndpoint(endpoint: string): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) {
    const shown = endpoint.includes('@') ? '' : ` (${endpoint})`;
    throw new UsageRefusal(`HF_ENDPOINT${shown} is not an http(s) URL.`, 'Fix or unset it.', 'hub/wrong-endpoint');
  }
  if (url.username || url.password || url.search || url.hash) {
    throw new UsageRefusal(
      `HF_ENDPOINT (${url.origin}${url.pathname}) has a user, a password or a query, which are not supported.`,
      'Give the address alone; a token goes into HF_TOKEN.',
      'hub/endpoint-with-password',
    );
  }
  return endpoint;
}

/** `text` without the token, in case another program's message repeats it. */
export function withoutSecrets(text: string, { token }: Pick<HubSettings, 'token'>): string {
  return token ? text.replaceAll(token, '[HF_TOKEN]') : text;
}

/** An absolute path; `~` is the home directory. */
function path(text: string): string {
  return resolve(text.replace(/^~(?=$|\/)/, () => homeOrRefusal()));
}

/** @throws UsageRefusal for a user without one: no HOME, and no entry in the password file, as in some containers */
function homeOrRefusal(): string {
  try {
    return homedir();
  } catch {
    throw new UsageRefusal(
      'There is no home directory to look for the Hugging Face cache in (HOME is not set).',
      'Set HF_HOME, or give --model as a directory.',
      'hub/no-home',
    );
  }
}

/** Turns an unsuccessful response into a Refusal; may read its body. */
type RefusedAnswer = (response: Response, settings: HubSettings, asked: Asked) => Refusal | Promise<Refusal>;

/** What is requested, for messages. */
export interface Asked {
  /** A model if absent. */
  readonly kind?: 'model' | 'data set';
  readonly model: string;
  readonly revision: string;
  /** Is it an upload? */
  readonly pushed?: true;
}

/**
 * `fetch` for the hub. It behaves as the hub's client library expects, with three differences: the token is only sent
 * to the endpoint's own origin (the hub redirects to storage elsewhere, and its listing pages contain arbitrary links),
 * a silent server is not waited for beyond the settings' timeout, and failures are Refusals.
 */
export function hubFetch(settings: HubSettings, asked: Asked, refusal: RefusedAnswer = refusedRequest): typeof fetch {
  const { origin } = new URL(settings.endpoint);
  return async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init.headers);
    headers.delete('authorization');
    // fetch itself drops this header when a redirect leaves the origin (WHATWG Fetch, HTTP-redirect fetch).
    if (settings.token && url.origin === origin) headers.set('authorization', `Bearer ${settings.token}`);
    const signal = init.signal ?? AbortSignal.timeout(settings.patience.stall);
    let response: Response;
    try {
      response = await fetch(url, { ...init, headers, signal });
    } catch (cause) {
      if (init.signal?.aborted) throw cause;
      throw passing(unreachable(url.origin, cause, settings, asked));
    }
    if (response.ok) return response;
    const refused = await refusal(response, settings, asked);
    await response.body?.cancel();
    throw refused;
  };
}

/** Refusals that may be temporary: a network failure, an overloaded server. */
const PASSING = new WeakSet<Refusal>();

/** Is it worth retrying? */
export function mayPass(refusal: Refusal): boolean {
  return PASSING.has(refusal);
}

/** Marks a refusal as temporary. */
export function passing(refusal: Refusal): Refusal {
  PASSING.add(refusal);
  return refusal;
}

/** No response at all: no network, unknown host, nothing listening. */
function unreachable(where: string, cause: unknown, settings: HubSettings, { kind, pushed }: Asked): Refusal {
  const { cache, patience } = settings;
  const timedOut = cause instanceof Error && cause.name === 'TimeoutError';
  const reason = timedOut
    ? `no answer within ${patience.stall / 1000} s`
    : withoutSecrets(deepestMessage(cause), settings);
  const instead = pushed
    ? 'Check the network and HF_ENDPOINT, and run the same command again: uploaded files are not sent again.'
    : kind === 'data set'
      ? 'Check the network and HF_ENDPOINT; or download the data set elsewhere, and give its files.'
      : `Check the network and HF_ENDPOINT; or fill the cache ${cache} on a machine that has network and copy it here.`;
  return new Refusal(`${where} could not be reached (${reason}).`, instead, 'hub/unreachable', { cause });
}

/** fetch says "fetch failed" and puts the actual error in `cause`. */
function deepestMessage(error: unknown): string {
  let deepest = error;
  while (deepest instanceof Error && deepest.cause !== undefined) deepest = deepest.cause;
  const inner = deepest instanceof AggregateError ? deepest.errors[0] : deepest;
  return inner instanceof Error ? inner.message || inner.name : String(inner);
}

/**
 * The Refusal for a status. The hub distinguishes cases of one status by the header X-Error-Code; compatible servers
 * may not send it.
 */
function refusedRequest(response: Response, { endpoint, token }: HubSettings, asked: Asked): Refusal {
  const { kind = 'model', model, revision } = asked;
  const page = `${endpoint}/${kind === 'model' ? '' : 'datasets/'}${model}`;
  const tokens = `${endpoint}/settings/tokens`;
  const code = response.headers.get('x-error-code');
  const setToken = `set HF_TOKEN to an access token (${tokens})`;
  switch (response.status) {
    case 401:
      if (token) {
        return new Refusal(
          `${endpoint} does not let this token read ${model} (401): it is invalid or expired, or the ${kind} does not exist.`,
          `Check the name; make a new token at ${tokens} and set HF_TOKEN to it.`,
          'hub/token-refused',
        );
      }
      // The hub also responds like this for nonexistent names, so as not to reveal private ones.
      return new Refusal(
        code === 'RepoNotFound'
          ? `${endpoint} has no ${kind} ${model}, or it is private (401).`
          : `${model} is not public (401).`,
        `Check the name; accept its terms at ${page} while logged in, and ${setToken} of that account.`,
        'hub/not-open',
      );
    case 403:
      return new Refusal(
        code === 'GatedRepo' || token === undefined
          ? `${model} is gated, and its terms have not been accepted by ${token ? "this token's account" : 'anyone here'} (403).`
          : `This token may not read ${model} (403): its terms are not accepted, or it is not allowed to read gated ${kind}s.`,
        `Accept the terms at ${page} while logged in, and ${setToken} of that account that may read gated ${kind}s.`,
        'hub/gated',
      );
    case 404:
      if (code === 'RevisionNotFound') {
        return new Refusal(
          `${model} has no revision "${revision}" (404).`,
          kind === 'model'
            ? `Choose a --revision from ${page}/tree/main.`
            : `Choose a branch, a tag or a commit from ${page}/tree/main, and write it as @REVISION.`,
          'hub/no-revision',
        );
      }
      if (kind === 'data set') {
        return new Refusal(
          `${endpoint} has no data set ${model} at revision "${revision}" (404).`,
          'Check its name and revision.',
          'hub/no-dataset',
        );
      }
      return new Refusal(
        `${endpoint} has no model ${model} at revision "${revision}" (404), and no directory has that name.`,
        'Check --model and --revision.',
        'hub/no-model',
      );
    default: {
      const sentence = `${new URL(response.url || endpoint).origin} answered ${response.status} for ${model}.`;
      const trouble = response.status === 429 || response.status >= 500;
      return trouble
        ? passing(new Refusal(sentence, 'Try again later.', 'hub/refused-status'))
        : new Refusal(sentence, 'Check HF_ENDPOINT.', 'hub/refused-status');
    }
  }
}

/** Limits on one series of API requests; a damaged or hostile server could continue without end. */
interface AnswerBounds {
  /** Bytes of one response, decompressed. A listing page has 1,000 entries, some 300 KB. */
  readonly answer: number;
  /** Total bytes of all responses. */
  readonly total: number;
  /** Number of requests: one for the model, one per page of its listing. */
  readonly requests: number;
}

export const API_BOUNDS: AnswerBounds = { answer: 2 ** 24, total: 2 ** 27, requests: 200 };

/**
 * A `fetch` that reads responses completely, within limits, and requests each URL only once.
 *
 * @param fetch see hubFetch
 * @throws Refusal naming the URL and the limit
 */
export function boundedFetch(fetch: typeof globalThis.fetch, bounds: AnswerBounds): typeof globalThis.fetch {
  const asked = new Set<string>();
  let total = 0;
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const where = `${url.origin}${url.pathname}`;
    if (asked.has(url.href)) throw excess(where, 'its pages lead back to one already read');
    asked.add(url.href);
    if (asked.size > bounds.requests) throw excess(where, `it has more than ${bounds.requests} pages`);
    const response = await fetch(input, init);
    const chunks: Uint8Array[] = [];
    let length = 0;
    try {
      for await (const chunk of response.body ?? []) {
        length += chunk.length;
        if (length > bounds.answer) throw excess(where, `an answer is larger than ${formatBytes(bounds.answer)}`);
        if (total + length > bounds.total) {
          throw excess(where, `its answers together are larger than ${formatBytes(bounds.total)}`);
        }
        chunks.push(chunk);
      }
    } catch (cause) {
      if (cause instanceof Refusal) throw cause;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw passing(
        new Refusal(`The response of ${where} was cut off: ${reason}.`, 'Try again later.', 'hub/answer-cut-short', {
          cause,
        }),
      );
    }
    total += length;
    // The body is decompressed here, so these headers no longer apply.
    const headers = new Headers(response.headers);
    for (const name of ['content-encoding', 'content-length']) headers.delete(name);
    return new Response(Buffer.concat(chunks), { status: response.status, headers });
  };
}

function excess(where: string, what: string): Refusal {
  return new Refusal(`${where} does not respond like a hub: ${what}.`, 'Check HF_ENDPOINT.', 'hub/not-a-hub');
}
