import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** A process that reads jobs and writes answers, a line of JSON each, in order; its first line says what it is. */
export class Peer {
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  constructor(
    program: string,
    private readonly args: readonly string[],
  ) {
    this.child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  async answer<T>(): Promise<T> {
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`${this.args[0]} ended without an answer`);
    return JSON.parse(value) as T;
  }

  async ask<T>(job: unknown): Promise<T> {
    this.child.stdin!.write(`${JSON.stringify(job)}\n`);
    return this.answer();
  }

  end(): void {
    this.child.stdin!.end();
  }
}
