import { Worker } from 'node:worker_threads';
import { Refusal } from '../config/refusal.js';
import type { Chunk, Heard, TextReply, TextRequest, TextStart, TokenizerFacts } from './text-protocol.js';

/** Chunks that are made ahead of what is taken. */
const AHEAD = 2;
/** Milliseconds that a thread has to close its files. */
const PATIENCE = 1000;

/** One reading of a text, in a thread next to the model's: text-worker.ts is its other end. */
export class TextReader {
  private readonly worker: Worker;
  private readonly replies: TextReply[] = [];
  private waiting: { resolve: (reply: TextReply) => void; reject: (cause: Error) => void } | undefined;
  private failure: Error | undefined;
  private asked = 0;
  private over = false;

  /** @param hear is told what comes up while the text is read */
  constructor(
    start: TextStart,
    private readonly hear: (heard: Heard) => void,
  ) {
    this.worker = new Worker(new URL('./text-worker.js', import.meta.url), { workerData: start });
    // What has been made ahead keeps no process alive; who waits for more does.
    this.worker.unref();
    this.worker.on('message', (reply: TextReply) => {
      if (this.waiting) this.waiting.resolve(reply);
      else this.replies.push(reply);
      this.waiting = undefined;
    });
    this.worker.on('error', (cause) => this.fail(cause as Error));
    this.worker.on('exit', (code) => this.fail(new Error(`The text's thread ended with code ${code}`)));
  }

  /**
   * Resolves when the tokenizer is open.
   *
   * @throws Refusal when it cannot be
   */
  async ready(): Promise<TokenizerFacts> {
    const reply = await this.reply();
    if (reply.kind !== 'ready') throw new Error(`the text's thread answered ${reply.kind}`);
    return reply.facts;
  }

  /**
   * The next contexts, null after the last.
   *
   * @throws Refusal when the text cannot be read
   */
  async next(): Promise<Chunk | null> {
    for (; this.asked < AHEAD; this.asked++) this.ask('next');
    const reply = await this.reply();
    if (reply.kind === 'end') this.over = true;
    if (reply.kind !== 'chunk') return null;
    this.ask('next');
    return reply.chunk;
  }

  /** Ends the thread; it is given a moment to say what it has to say. */
  async close(): Promise<void> {
    this.waiting?.reject(new Error('The text was closed'));
    this.waiting = undefined;
    if (!this.failure && !this.over) {
      this.ask('close');
      const timer = setTimeout(() => this.fail(new Error('The text was closed')), PATIENCE);
      try {
        while ((await this.reply()).kind !== 'closed');
      } catch {
        // It was asked to end, and ends.
      } finally {
        clearTimeout(timer);
      }
    }
    this.failure ??= new Error('The text was closed');
    await this.worker.terminate();
  }

  private ask(request: TextRequest): void {
    this.worker.postMessage(request);
  }

  private async reply(): Promise<Exclude<TextReply, { kind: 'refused' }>> {
    const reply = this.replies.shift() ?? (await this.arrival());
    if (reply.kind === 'refused') {
      throw new Refusal(reply.message, reply.remedy, { exitCode: reply.exitCode });
    }
    if (reply.kind !== 'ready') this.hear(reply.heard);
    return reply;
  }

  private async arrival(): Promise<TextReply> {
    if (this.failure) throw this.failure;
    this.worker.ref();
    try {
      return await new Promise((resolve, reject) => {
        this.waiting = { resolve, reject };
      });
    } finally {
      this.worker.unref();
    }
  }

  private fail(cause: Error): void {
    this.failure ??= cause;
    this.waiting?.reject(this.failure);
    this.waiting = undefined;
  }
}
