import { type ResourceLimits, Worker } from 'node:worker_threads';

/** How a worker thread is started, and heard. */
interface ThreadOptions<Reply> {
  /** What it is of, for messages: "the text's thread". */
  readonly name: string;
  readonly data: unknown;
  readonly resourceLimits?: ResourceLimits;
  /** Does it keep the process alive only while a reply is waited for? */
  readonly idle?: boolean;
  /** Takes a message that answers nothing, and returns true then. */
  readonly aside?: (reply: Reply) => boolean;
}

/**
 * A worker thread whose replies are taken one by one, in the order in which they came. When it ends, or fails, replies
 * that have come are still given; whoever waits after that is told why.
 */
export class Thread<Request, Reply> {
  private readonly worker: Worker;
  private readonly replies: Reply[] = [];
  private waiting: { resolve: (reply: Reply) => void; reject: (cause: Error) => void } | undefined;
  private reason: Error | undefined;
  private readonly idle: boolean;
  private ending = false;
  /** Resolves when it has ended. */
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

  /** Why no more replies come; undefined while they may. */
  get failure(): Error | undefined {
    return this.reason;
  }

  ask(request: Request, transfer: readonly ArrayBuffer[] = []): void {
    this.worker.postMessage(request, transfer);
  }

  /** @throws Error what it failed of, where no reply is left */
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
      // A reply that comes while the thread is ended must not let the process go before that is done.
      if (this.idle && !this.ending) this.worker.unref();
    }
  }

  /** Whoever waits for a reply waits no longer. */
  abandon(cause: Error): void {
    this.waiting?.reject(cause);
    this.waiting = undefined;
  }

  /** No further reply is waited for. */
  fail(cause: Error): void {
    this.reason ??= cause;
    this.abandon(this.reason);
  }

  /** Ends it, whatever it does. */
  async terminate(): Promise<void> {
    this.ending = true;
    await this.worker.terminate();
  }
}
