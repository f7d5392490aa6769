import { type ResourceLimits, Worker } from 'node:worker_threads';

/** How to start a worker thread and handle its messages. */
interface ThreadOptions<Reply> {
  /** Its name in messages: "the text's thread". */
  readonly name: string;
  readonly data: unknown;
  readonly resourceLimits?: ResourceLimits;
  /** Should it keep the process alive only while a reply is awaited? */
  readonly idle?: boolean;
  /** Handles a message that is not a reply; returns true if it was one. */
  readonly aside?: (reply: Reply) => boolean;
}

/**
 * A worker thread whose replies are consumed one by one, in order of arrival. If it ends or fails, replies that have
 * arrived are still returned; later requests reject with the cause.
 */
export class Thread<Request, Reply> {
  private readonly worker: Worker;
  private readonly replies: Reply[] = [];
  private waiting: { resolve: (reply: Reply) => void; reject: (cause: Error) => void } | undefined;
  private reason: Error | undefined;
  private readonly idle: boolean;
  private ending = false;
  /** Resolves once it has ended. */
  readonly ended: Promise<void>;

  constructor(script: URL, { name, data, resourceLimits, idle = false, aside }: ThreadOptions<Reply>) {
    this.worker = new Worker(script, { workerData: data, resourceLimits });
    this.idle = idle;
    if (idle) this.worker.unref();
    this.worker.on('message', (reply: Reply) => {
      if (aside?.(reply)) return;
      if (this.waiting) this.waiting.resolve(reply);
      else this.replies.push(reply);
      this.waiting = undefined;
    });
    this.worker.on('error', (cause) => this.fail(cause as Error));
    this.ended = new Promise((resolve) => {
      this.worker.on('exit', (code) => {
        this.fail(new Error(`${name} ended with code ${code}`));
        resolve();
      });
    });
  }

  /** Why there are no more replies; undefined while there may be. */
  get failure(): Error | undefined {
    return this.reason;
  }

  ask(request: Request, transfer: readonly ArrayBuffer[] = []): void {
    this.worker.postMessage(request, transfer);
  }

  /** @throws Error its cause of failure, if no reply is left */
  async reply(): Promise<Reply> {
    const [first] = this.replies.splice(0, 1);
    if (first !== undefined) return first;
    if (this.reason) throw this.reason;
    if (this.idle) this.worker.ref();
    try {
      return await new Promise((resolve, reject) => {
        this.waiting = { resolve, reject };
      });
    } finally {
      // A reply during termination must not let the process exit before the thread has ended.
      if (this.idle && !this.ending) this.worker.unref();
    }
  }

  /** Rejects all pending requests. */
  abandon(cause: Error): void {
    this.waiting?.reject(cause);
    this.waiting = undefined;
  }

  /** No more replies are awaited. */
  fail(cause: Error): void {
    this.reason ??= cause;
    this.abandon(this.reason);
  }

  /** Terminates it, whatever it is doing. */
  async terminate(): Promise<void> {
    this.ending = true;
    await this.worker.terminate();
  }
}
