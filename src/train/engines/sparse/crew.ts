import { Worker } from 'node:worker_threads';

/** A request, and which of its buffers are handed over. */
export interface Sent<Request> {
  readonly request: Request;
  readonly transfer: readonly ArrayBuffer[];
}

/**
 * Worker threads that are asked together: each answers first to its start and then once to each request. When one
 * fails, the others are ended, and whoever waits is told why.
 */
export class Crew<Data, Request, Reply> {
  private readonly workers: Worker[];
  private waiting: { resolve: (replies: Reply[]) => void; reject: (cause: Error) => void } | undefined;
  private replies: Reply[] = [];
  private missing: number;
  private failure: Error | undefined;
  private closing = false;

  constructor(script: URL, starts: readonly Data[]) {
    this.workers = starts.map((data, index) => {
      const worker = new Worker(script, { workerData: data });
      worker.on('message', (reply: Reply) => this.receive(index, reply));
      worker.on('error', (cause) => this.fail(index, cause));
      worker.on('exit', (code) => this.fail(index, new Error(`it ended with code ${code}`)));
      return worker;
    });
    this.missing = this.workers.length;
  }

  /** Resolves when every worker has started. */
  async ready(): Promise<void> {
    await this.answers();
  }

  /** Sends a request to every worker; their replies, in the workers' order. */
  ask(request: Request): Promise<Reply[]> {
    return this.askEach(this.workers.map(() => ({ request, transfer: [] })));
  }

  /** Sends each worker its own request; their replies, in the workers' order. */
  askEach(requests: readonly Sent<Request>[]): Promise<Reply[]> {
    if (this.failure) return Promise.reject(this.failure);
    if (this.missing > 0) throw new Error('the workers are asked while they work');
    this.replies = [];
    this.missing = this.workers.length;
    this.workers.forEach((worker, index) => {
      const { request, transfer } = requests[index]!;
      worker.ref();
      worker.postMessage(request, transfer);
    });
    return this.answers();
  }

  /** Can they be asked? */
  get idle(): boolean {
    return this.failure === undefined && !this.closing && this.missing === 0;
  }

  async close(): Promise<void> {
    this.closing = true;
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }

  private answers(): Promise<Reply[]> {
    if (this.failure) return Promise.reject(this.failure);
    if (this.missing === 0) return Promise.resolve(this.replies);
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
    });
  }

  private receive(index: number, reply: Reply): void {
    this.replies[index] = reply;
    if (--this.missing > 0) return;
    // Workers that nobody waits for do not keep the process alive.
    for (const worker of this.workers) worker.unref();
    this.waiting?.resolve(this.replies);
    this.waiting = undefined;
  }

  private fail(index: number, cause: Error): void {
    if (this.closing || this.failure) return;
    const reason = cause.message.trim().replace(/\.$/, '');
    this.failure = new Error(`Worker ${index} of the training engine failed: ${reason}`, { cause });
    // The others may wait for it at a barrier for ever.
    void this.close();
    this.waiting?.reject(this.failure);
    this.waiting = undefined;
  }
}
