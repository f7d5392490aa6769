import { failedAnswer, postedAt, Unanswered } from './answers.js';

/**
 * Sends a request, and parses the lines of its response as they arrive.
 *
 * @param signal aborted when nobody waits any more: this closes the connection, which the server notices
 * @throws Unanswered if the server refuses, or stops in the middle of a line; the reason that `signal` was aborted with
 */
export async function linesAt<T>(
  path: string,
  body: object,
  signal: AbortSignal,
  take: (value: T) => void,
): Promise<void> {
  const reply = await postedAt(path, body, signal);
  if (!reply.ok || !reply.body) throw await failedAnswer(path, reply);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  const read = () =>
    reader.read().catch((error) => {
      if (signal.aborted) throw error;
      throw new Unanswered('The server of this page has stopped responding.', 'Check that it is still running.');
    });
  let rest = '';
  for (;;) {
    const { value, done } = await read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      signal.throwIfAborted();
      take(JSON.parse(line) as T);
    }
  }
}
