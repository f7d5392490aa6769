import { Refusal } from '../config/refusal.js';
import { formatBytes } from '../disk/free-space.js';
import { passing } from './request.js';

/** What one conversation with a hub's API may take; a server that is damaged or hostile could go on without end. */
export interface AnswerBounds {
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
      throw passing(new Refusal(`The answer of ${where} broke off: ${reason}.`, 'Try again later.', { cause }));
    }
    total += length;
    // What was packed on the way is unpacked here, and its length is another.
    const headers = new Headers(response.headers);
    for (const name of ['content-encoding', 'content-length']) headers.delete(name);
    return new Response(Buffer.concat(chunks), { status: response.status, headers });
  };
}

function excess(where: string, what: string): Refusal {
  return new Refusal(`${where} does not answer as a hub does: ${what}.`, 'Check HF_ENDPOINT.');
}
