import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { readTextFile } from '../disk/json.js';
import { formatBytes } from '../disk/space.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';

/** Where the hub is, where its files are kept, and who asks. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** Directory of `models--org--name/`. */
  readonly cache: string;
  /** Ask nothing of the network. */
  readonly offline: boolean;
  readonly token: string | undefined;
  readonly patience: Patience;
}

/** How long a download waits and how often it tries again. */
export interface Patience {
  /** Connections tried in a row without one new byte. */
  readonly attempts: number;
  /** Milliseconds before the second attempt; doubles with each further one. */
  readonly delay: number;
  /** Milliseconds without a byte or an answer after which a connection is given up. */
  readonly stall: number;
  /** Milliseconds between looks at another process's download. */
  readonly poll: number;
}

const HUB_PATIENCE: Patience = { attempts: 6, delay: 1000, stall: 60_000, poll: 1000 };

type HubEnvironment = Readonly<Record<string, string | undefined>>;

/**
 * The settings that Hugging Face's own tools read from the environment, with their names and defaults (documentation of
 * huggingface_hub, "Environment variables"), so that one cache and one login serve both.
 *
 * @throws UsageRefusal when HF_ENDPOINT is not an address, or HF_TOKEN cannot be a token
 */
export async function hubSettings(environment: HubEnvironment, offline: boolean): Promise<HubSettings> {
  const set = (name: string) => environment[name]?.trim() || undefined;
  // Asked for only where nothing else says where: not every user has a home directory.
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

/** What `hf auth login` left. A file that may not be read is not a login. */
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
 * A token goes into a header line, and what cannot be sent there must not be repeated in a message either.
 *
 * @param from the variable or the file that holds it
 */
function checkToken(token: string, from: string): string {
  if (/^[\x21-\x7e]{1,1000}$/.test(token)) return token;
  throw new UsageRefusal(
    `${from} does not hold an access token: it has a space, a line break or another character that no token has.`,
    'Set it to the token alone, e.g. hf_… .',
    'hub/malformed-token',
  );
}

/** An endpoint may be printed in any message, so whatever could hold a secret is refused and not repeated. */
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

/** `text` without the token, should another program's message repeat it. */
export function withoutSecrets(text: string, { token }: Pick<HubSettings, 'token'>): string {
  return token ? text.replaceAll(token, '[HF_TOKEN]') : text;
}

/** An absolute path; `~` is the home directory. */
function path(text: string): string {
  return resolve(text.replace(/^~(?=$|\/)/, () => homeOrRefusal()));
}

/** @throws UsageRefusal for a user that has none: no HOME, and no entry in the password file, as in some containers */
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

/** What an answer that is not a success means; it may read the answer's body. */
type RefusedAnswer = (response: Response, settings: HubSettings, asked: Asked) => Refusal | Promise<Refusal>;

/** What is asked for, so that a refusal can name it. */
export interface Asked {
  /** A model where absent. */
  readonly kind?: 'model' | 'data set';
  readonly model: string;
  readonly revision: string;
  /** Is something uploaded there? */
  readonly pushed?: true;
}

/**
 * `fetch` for the hub. It speaks HTTP as the hub's client library expects, with three differences: the token goes to the
 * endpoint's own origin and nowhere else (the hub redirects to storage elsewhere, and its pages of listings are links it
 * may write as it likes), nothing is asked in silence for longer than the settings' patience, and what fails is a Refusal.
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

/** Refusals that may be none a moment later: a network that fails, a server that is overloaded. */
const PASSING = new WeakSet<Refusal>();

/** Is it worth asking again? */
export function mayPass(refusal: Refusal): boolean {
  return PASSING.has(refusal);
}

/** Marks a refusal as one that may pass. */
export function passing(refusal: Refusal): Refusal {
  PASSING.add(refusal);
  return refusal;
}

/** No answer at all: no network, no such host, no one listening. */
function unreachable(where: string, cause: unknown, settings: HubSettings, { kind, pushed }: Asked): Refusal {
  const { cache, patience } = settings;
  const timedOut = cause instanceof Error && cause.name === 'TimeoutError';
  const reason = timedOut
    ? `no answer within ${patience.stall / 1000} s`
    : withoutSecrets(deepestMessage(cause), settings);
  const instead = pushed
    ? 'Check the network and HF_ENDPOINT, and run the same command again: what is uploaded is not sent twice.'
    : kind === 'data set'
      ? 'Check the network and HF_ENDPOINT; or download the data set elsewhere, and give its files.'
      : `Check the network and HF_ENDPOINT; or fill the cache ${cache} on a machine that has network and copy it here.`;
  return new Refusal(`${where} could not be reached (${reason}).`, instead, 'hub/unreachable', { cause });
}

/** fetch says "fetch failed" and keeps what failed in `cause`. */
function deepestMessage(error: unknown): string {
  let deepest = error;
  while (deepest instanceof Error && deepest.cause !== undefined) deepest = deepest.cause;
  const inner = deepest instanceof AggregateError ? deepest.errors[0] : deepest;
  return inner instanceof Error ? inner.message || inner.name : String(inner);
}

/**
 * The sentence for a status. The hub tells cases of one status apart by the header X-Error-Code; other servers that
 * speak its language may not send it.
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
          `${endpoint} does not let this token read ${model} (401): it is invalid or expired, or there is no such ${kind}.`,
          `Check the name; make a new token at ${tokens} and set HF_TOKEN to it.`,
          'hub/token-refused',
        );
      }
      // The hub answers so for names that do not exist, too: it does not tell strangers what is private.
      return new Refusal(
        code === 'RepoNotFound'
          ? `There is no ${kind} ${model} on ${endpoint}, or it is private (401).`
          : `${model} is not open to everyone (401).`,
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
        `${endpoint} has no model ${model} at revision "${revision}" (404), and there is no directory of that name.`,
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

/** What one conversation with a hub's API may take; a server that is damaged or hostile could continue without end. */
interface AnswerBounds {
  /** Bytes of one answer, unpacked. A page of a listing has 1,000 entries, some 300 KB. */
  readonly answer: number;
  /** Bytes of all answers together. */
  readonly total: number;
  /** Requests: one for the model, one per page of its listing. */
  readonly requests: number;
}

export const API_BOUNDS: AnswerBounds = { answer: 2 ** 24, total: 2 ** 27, requests: 200 };

/**
 * A `fetch` whose answers are read whole before they are handed over, within bounds, each address asked for once.
 *
 * @param fetch see hubFetch
 * @throws Refusal naming the address and the bound
 */
export function boundedFetch(fetch: typeof globalThis.fetch, bounds: AnswerBounds): typeof globalThis.fetch {
  const asked = new Set<string>();
  let total = 0;
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const where = `${url.origin}${url.pathname}`;
    if (asked.has(url.href)) throw excess(where, 'its pages lead back to one that was read already');
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
        new Refusal(`The answer of ${where} broke off: ${reason}.`, 'Try again later.', 'hub/answer-cut-short', {
          cause,
        }),
      );
    }
    total += length;
    // What was packed on the way is unpacked here, and its length is another.
    const headers = new Headers(response.headers);
    for (const name of ['content-encoding', 'content-length']) headers.delete(name);
    return new Response(Buffer.concat(chunks), { status: response.status, headers });
  };
}

function excess(where: string, what: string): Refusal {
  return new Refusal(`${where} does not answer as a hub does: ${what}.`, 'Check HF_ENDPOINT.', 'hub/not-a-hub');
}
