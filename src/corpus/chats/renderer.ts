import { Refusal } from '../../errors/refusal.js';
import { Thread } from '../../progress/thread.js';
import type { ChatReply, ChatTask, Rendered } from './chat-worker.js';
import type { Message } from './conversation.js';

/** Heap for templates, in MiB: one that grows without end ends its thread, not the process. */
const HEAP = 512;
/** Milliseconds that a template has for the conversations that it is given at a time. */
const PATIENCE = 20_000;

/** A template, applied in a separate thread: it is a program, and may loop or grow without end. */
export class ChatRenderer {
  private readonly thread: Thread<readonly (readonly Message[])[], ChatReply>;
  /** The thread has started: how long that takes is not the template's fault. */
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
   * What became of each conversation.
   *
   * @param first place of the first, for messages
   * @throws Refusal where the template does not end, or fills its memory
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
 * @param place of the conversation
 * @param model the model's directory
 */
export function refusedRendering(
  { failed, reason }: Exclude<Rendered, { text: string }>,
  place: string,
  model: string,
): Refusal {
  if (failed === 'ambiguous') {
    return new Refusal(
      `The chat template of ${model} does not tell which tokens are of which role: ${reason} (${place}).`,
      'Leave --roles out, or mark what the model writes by {% generation %} in chat_template.jinja.',
      'corpus/ambiguous-chat-template',
    );
  }
  if (failed === 'too long') {
    return new Refusal(
      `The chat template of ${model} gives ${reason} (${place}).`,
      'Use the template that came with the model, and split conversations of that length.',
      'corpus/chat-template-limits',
    );
  }
  return new Refusal(
    `${place} could not be rendered by the chat template of ${model}: ${reason.replace(/\.$/, '')}.`,
    'Leave such conversations out of the corpus, or change them to what the template takes.',
    'corpus/chat-template',
  );
}
