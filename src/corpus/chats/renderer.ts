import { Refusal } from '../../errors/refusal.js';
import { Thread } from '../../progress/thread.js';
import type { ChatReply, ChatTask, Rendered } from './chat-worker.js';
import type { Message } from './conversation.js';

/** Heap limit for templates in MiB: a runaway template ends its thread, not the process. */
const HEAP = 512;
/** Time limit of a template per batch of conversations, in milliseconds. */
const PATIENCE = 20_000;

/** A template, applied in a separate thread: it is a program, and may loop or allocate without end. */
export class ChatRenderer {
  private readonly thread: Thread<readonly (readonly Message[])[], ChatReply>;
  /** Resolved once the thread has started; that time does not count against the template. */
  private started: Promise<ChatReply> | undefined;

  /** @param model its directory, for messages */
  constructor(
    private readonly model: string,
    task: ChatTask,
    private readonly patience = PATIENCE,
  ) {
    const options = { name: 'The thread of the chat template', data: task, idle: true };
    const resourceLimits = { maxOldGenerationSizeMb: HEAP };
    this.thread = new Thread(new URL('chat-worker.js', import.meta.url), { ...options, resourceLimits });
  }

  /**
   * The results for the conversations.
   *
   * @param first location of the first, for messages
   * @throws Refusal if the template does not end or runs out of memory
   */
  async render(conversations: readonly (readonly Message[])[], first: string): Promise<readonly Rendered[]> {
    const over = (what: string, cause?: unknown) =>
      new Refusal(
        `The chat template of ${this.model} ${what} (${first}).`,
        'Use the template that came with the model.',
        'corpus/chat-template-limits',
        { cause },
      );
    this.started ??= this.thread.reply();
    await this.started;
    this.thread.ask(conversations);
    const timer = setTimeout(() => {
      this.thread.fail(over(`does not end within ${this.patience / 1000} s`));
      void this.thread.terminate();
    }, this.patience);
    try {
      return (await this.thread.reply()) as readonly Rendered[];
    } catch (cause) {
      if (cause instanceof Refusal) throw cause;
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'ERR_WORKER_OUT_OF_MEMORY') throw over(`fills ${HEAP} MiB of memory`, cause);
      throw cause;
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    await this.thread.terminate();
  }
}

/**
 * @param place location of the conversation
 * @param model the model's directory
 */
export function refusedRendering(
  { failed, reason }: Exclude<Rendered, { text: string }>,
  place: string,
  model: string,
): Refusal {
  if (failed === 'ambiguous') {
    return new Refusal(
      `The chat template of ${model} does not show which role each token belongs to: ${reason} (${place}).`,
      'Omit --roles, or mark what the model writes with {% generation %} in chat_template.jinja.',
      'corpus/ambiguous-chat-template',
    );
  }
  if (failed === 'too long') {
    return new Refusal(
      `The chat template of ${model} produces ${reason} (${place}).`,
      'Use the template that came with the model, and split conversations of that length.',
      'corpus/chat-template-limits',
    );
  }
  return new Refusal(
    `${place} could not be rendered by the chat template of ${model}: ${reason.replace(/\.$/, '')}.`,
    'Remove such conversations from the corpus, or change them to what the template accepts.',
    'corpus/chat-template',
  );
}
