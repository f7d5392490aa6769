import { parentPort, workerData } from 'node:worker_threads';
import type { Message } from './conversation.js';
import { compiled, TooLong } from './jinja.js';
import { AmbiguousTemplate, type Rendering, type Renders, rendering } from './spans.js';
import type { ChatTemplate } from './template.js';

/** Start options of the thread. */
export interface ChatTask {
  readonly template: ChatTemplate;
  /** Every role if undefined. */
  readonly roles?: readonly string[];
  /** Do templates get today's date? Otherwise a fixed one. */
  readonly today: boolean;
  /** Add the beginning of an answer? */
  readonly prompt: boolean;
}

/** The result for a conversation. */
export type Rendered = Rendering | { readonly failed: 'template' | 'ambiguous' | 'too long'; readonly reason: string };

/** Replies of the thread: first that it is ready, then the results for each list of conversations. */
export type ChatReply = 'ready' | readonly Rendered[];

/** Processes lists of conversations in order. A template may never end: whoever waits terminates the thread. */
function serve(port: NonNullable<typeof parentPort>, { template, roles, today, prompt }: ChatTask): void {
  let renders: Renders;
  const render = (messages: readonly Message[]): Rendered => {
    try {
      renders ??= compiled(template, today);
      return prompt
        ? { text: renders.plain(messages, true) }
        : rendering(renders, messages, roles, template.tokens.bos_token);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      if (cause instanceof AmbiguousTemplate) return { failed: 'ambiguous', reason };
      return { failed: cause instanceof TooLong ? 'too long' : 'template', reason };
    }
  };
  const answer = (reply: ChatReply) => port.postMessage(reply);
  port.on('message', (conversations: readonly (readonly Message[])[]) => answer(conversations.map(render)));
  answer('ready');
}

if (!parentPort) throw new Error('chat-worker.js runs in a worker thread');
serve(parentPort, workerData as ChatTask);
