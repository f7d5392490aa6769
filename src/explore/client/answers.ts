import type { ExploreError } from '../api.js';

// Requests to the server, and their errors.

/** A failed request: why, and what to do about it. */
export class Unanswered extends Error {
  constructor(
    message: string,
    readonly remedy: string | null = null,
  ) {
    super(message);
  }
}

/**
 * The JSON at a path.
 *
 * @param body sent by POST, if given
 * @throws Unanswered with the server's own sentence, or one about the connection
 */
export async function jsonAt<T>(path: string, body?: object): Promise<T> {
  const reply = body === undefined ? await answerAt(path) : await postedAt(path, body);
  if (!reply.ok) throw await failedAnswer(path, reply);
  const parsed: unknown = await reply.json().catch(() => null);
  if (parsed === null) throw new Unanswered(`${path} could not be read.`);
  return parsed as T;
}

/** The server's explanation of a failure. */
export async function failedAnswer(path: string, reply: Response): Promise<Unanswered> {
  const { error, remedy } = ((await reply.json().catch(() => null)) ?? {}) as Partial<ExploreError>;
  return new Unanswered(error ?? `${path} could not be read (${reply.status}).`, remedy ?? null);
}

/** A response of the server of this page. @throws Unanswered if there is none */
export function answerAt(path: string): Promise<Response> {
  return answered(path, { cache: 'no-cache' });
}

/** The response to a JSON POST. @throws Unanswered if there is none, or the reason that `signal` was aborted with */
export function postedAt(path: string, body: object, signal?: AbortSignal): Promise<Response> {
  const headers = { 'Content-Type': 'application/json' };
  return answered(path, { method: 'POST', body: JSON.stringify(body), headers, signal });
}

async function answered(path: string, asked: RequestInit): Promise<Response> {
  try {
    return await fetch(path, asked);
  } catch (error) {
    if (asked.signal?.aborted) throw error;
    const remedy = 'Check that it is still running, then try again. What you typed is kept on this page.';
    throw new Unanswered('The server of this page does not respond.', remedy);
  }
}
