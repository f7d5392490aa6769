import { Refusal } from '../config/refusal.js';
import { type HubSettings, withoutSecrets } from './settings.js';

/** What is asked for, so that a refusal can name it. */
export interface Asked {
  readonly model: string;
  readonly revision: string;
}

/**
 * `fetch` for the hub. It speaks HTTP as the hub's client library expects, with three differences: the token goes to the
 * endpoint's own origin and nowhere else (the hub redirects to storage elsewhere, and its pages of listings are links it
 * may write as it likes), nothing is asked in silence for longer than the settings' patience, and what fails is a Refusal.
 */
export function hubFetch(settings: HubSettings, asked: Asked): typeof fetch {
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
      throw passing(unreachable(url.origin, cause, settings));
    }
    if (response.ok) return response;
    await response.body?.cancel();
    throw refusedRequest(response, settings, asked);
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
function unreachable(where: string, cause: unknown, settings: HubSettings): Refusal {
  const { cache, patience } = settings;
  const timedOut = cause instanceof Error && cause.name === 'TimeoutError';
  const reason = timedOut
    ? `no answer within ${patience.stall / 1000} s`
    : withoutSecrets(deepestMessage(cause), settings);
  return new Refusal(
    `${where} could not be reached (${reason}).`,
    `Check the network and HF_ENDPOINT; or fill the cache ${cache} on a machine that has network and copy it here.`,
    { cause },
  );
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
function refusedRequest(response: Response, { endpoint, token }: HubSettings, { model, revision }: Asked): Refusal {
  const page = `${endpoint}/${model}`;
  const tokens = `${endpoint}/settings/tokens`;
  const code = response.headers.get('x-error-code');
  const setToken = `set HF_TOKEN to an access token (${tokens})`;
  switch (response.status) {
    case 401:
      if (token) {
        return new Refusal(
          `${endpoint} does not let this token read ${model} (401): it is invalid or expired, or there is no such model.`,
          `Check the name; make a new token at ${tokens} and set HF_TOKEN to it.`,
        );
      }
      // The hub answers so for names that do not exist, too: it does not tell strangers what is private.
      return new Refusal(
        code === 'RepoNotFound'
          ? `There is no model ${model} on ${endpoint}, or it is private (401).`
          : `${model} is not open to everyone (401).`,
        `Check the name; accept the model's terms at ${page} while logged in, and ${setToken} of that account.`,
      );
    case 403:
      return new Refusal(
        code === 'GatedRepo' || token === undefined
          ? `${model} is gated, and its terms have not been accepted by ${token ? "this token's account" : 'anyone here'} (403).`
          : `This token may not read ${model} (403): its terms are not accepted, or it is not allowed to read gated models.`,
        `Accept the terms at ${page} while logged in, and ${setToken} of that account that may read gated models.`,
      );
    case 404:
      if (code === 'RevisionNotFound') {
        return new Refusal(
          `${model} has no revision "${revision}" (404).`,
          `Choose a --revision from ${page}/tree/main.`,
        );
      }
      return new Refusal(
        `${endpoint} has no model ${model} at revision "${revision}" (404), and there is no directory of that name.`,
        'Check --model and --revision.',
      );
    default: {
      const sentence = `${new URL(response.url || endpoint).origin} answered ${response.status} for ${model}.`;
      const trouble = response.status === 429 || response.status >= 500;
      return trouble ? passing(new Refusal(sentence, 'Try again later.')) : new Refusal(sentence, 'Check HF_ENDPOINT.');
    }
  }
}
