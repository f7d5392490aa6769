import type { ActivationDType } from '../activations/manifest.js';
import type { ActivationArray, Rows } from '../activations/rows.js';
import { PRESS_HERE, PressThreads, type ShardPress } from '../activations/shard-press.js';
import { type Context, countActivations, type LeftOut } from '../corpus/contexts.js';
import { type RefusedReply, refusalFrom } from '../errors/refusal.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import type { Hook } from '../lm/hooks.js';
import { cores } from '../machine/cores.js';
import type { Device } from '../onnx/session.js';
import { Thread } from '../progress/thread.js';
import { type ForwardPass, openForwardPass, type PassConfig, type PassResult } from './forward-pass.js';

/**
 * Opens the model for harvesting. A GPU is driven from a thread, so that the calling thread can window, permute and
 * write meanwhile. A pass on the CPU takes all cores, and runs on the calling thread.
 */
export function openHarvestPass(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  context: number,
  config: PassConfig,
): Promise<ForwardPass> {
  if (!runsAhead(config.device)) return openForwardPass(checkpoint, hooks, context, config);
  return PassThread.open(checkpoint, hooks, context, config);
}

/** Does the model run ahead of writing? Then a window is made while the previous one is written. */
export const runsAhead = (device: Device): boolean => device.startsWith('cuda');

/** Max threads that turn shards into files: hashing takes as long as a GPU's pass. */
const PRESSES = 3;

/** Number of threads that turn shards into files while a model runs on a device. */
export const pressThreads = (device: Device): number =>
  runsAhead(device) ? Math.max(1, Math.min(PRESSES, cores() - 1)) : 0;

export function openPress(device: Device): ShardPress {
  const threads = pressThreads(device);
  return threads === 0 ? PRESS_HERE : new PressThreads(threads);
}

/** Memory for rows is allocated this share larger, so that it fits passes with a few more rows. */
const ROOM = 1 / 16;

/** The model in a thread (pass-worker.ts), as seen by the calling thread. */
export class PassThread implements ForwardPass {
  readonly ahead = true;
  /** Set when no more passes are wanted. */
  private readonly over: Int32Array;
  private last: Promise<unknown> = Promise.resolve();
  /**
   * For each hook, memory of rows that is no longer needed, ascending by size: allocating new memory takes as long as
   * copying into it. Both threads share it: transferred memory counts as new memory of its thread, which makes V8
   * collect garbage. Shared memory does not, so released pieces stay for long: one is released only for a larger one.
   */
  private readonly spare: SharedArrayBuffer[][];

  private constructor(
    private readonly thread: Thread<PassRequest, PassReply>,
    over: SharedArrayBuffer,
    readonly contexts: number,
    /** Widths per hook. */
    private readonly widths: readonly number[],
    private readonly dtype: ActivationDType,
  ) {
    this.over = new Int32Array(over);
    this.spare = widths.map(() => []);
  }

  static async open(
    checkpoint: Checkpoint,
    hooks: readonly Hook[],
    context: number,
    { device, precision, threads, dtype }: PassConfig,
  ): Promise<PassThread> {
    const over = new SharedArrayBuffer(4);
    const data: PassStart = {
      model: checkpoint.directory,
      hooks: hooks.map(({ name }) => name),
      context,
      config: { device, precision, threads, dtype },
      over,
    };
    const script = new URL('pass-worker.js', import.meta.url);
    const thread = new Thread<PassRequest, PassReply>(script, { name: "The model's thread", data });
    const ready = await thread.reply();
    if (ready.kind === 'refused') {
      thread.ask('close');
      throw refusalFrom(ready);
    }
    const widths = hooks.map(({ width }) => width);
    const pass = new PassThread(thread, over, (ready as PassReady).contexts, widths, dtype);
    try {
      // The thread has opened the files again: they must be those that the plan was made with.
      await checkpoint.checkUnchanged();
    } catch (error) {
      await pass.release();
      throw error;
    }
    return pass;
  }

  run(group: readonly Context[], leftOut: LeftOut, limit: number): Promise<PassResult> {
    const rows = group.reduce((sum, context) => sum + countActivations(context, leftOut), 0);
    const size = this.dtype === 'float32' ? 4 : 2;
    const memory = this.widths.map((width, k) => this.memoryOf(k, size * width * Math.min(limit, rows)));
    this.thread.ask({ contexts: group, leftOut, limit, memory });
    const reply = this.last.then(() => this.thread.reply());
    // Replies come in the order of the requests, even after a failed one.
    this.last = reply.catch(() => {});
    return reply.then((answer) => {
      if (answer.kind === 'refused') throw refusalFrom(answer);
      const { token, context, pos, norms, count, used } = answer as PassRows;
      const rows = this.widths.map((width, k) => {
        return { activation: activationsIn(memory[k]!, count * width, this.dtype), token, context, pos };
      });
      return { rows, norms, count, contexts: group.slice(0, used) };
    });
  }

  reuse(hook: number, memory: readonly ArrayBufferLike[]): void {
    // If some rows were left out, the others have been copied elsewhere.
    const spare = this.spare[hook]!;
    for (const one of memory) if (one instanceof SharedArrayBuffer) spare.push(one);
    spare.sort((a, b) => a.byteLength - b.byteLength);
  }

  /** Memory of a hook for this many bytes: the smallest piece that fits, or a new one in place of the smallest. */
  private memoryOf(hook: number, bytes: number): SharedArrayBuffer {
    const spare = this.spare[hook]!;
    const at = spare.findIndex(({ byteLength }) => byteLength >= bytes);
    if (at >= 0) return spare.splice(at, 1)[0]!;
    spare.shift();
    return new SharedArrayBuffer(4 * Math.ceil(((1 + ROOM) * bytes) / 4));
  }

  async release(): Promise<void> {
    Atomics.store(this.over, 0, 1);
    this.thread.ask('close');
    await this.thread.ended;
  }
}

/** The first `length` entries in memory of a pass. */
export function activationsIn(memory: SharedArrayBuffer, length: number, dtype: ActivationDType): ActivationArray {
  return dtype === 'float32' ? new Float32Array(memory, 0, length) : new Uint16Array(memory, 0, length);
}

/** Start options of the thread. */
export interface PassStart {
  /** The model's directory. */
  readonly model: string;
  readonly hooks: readonly string[];
  readonly context: number;
  readonly config: PassConfig;
  /** An int32: where it is not 0, passes that were requested are skipped. */
  readonly over: SharedArrayBuffer;
}

export type PassRequest =
  | {
      readonly contexts: readonly Context[];
      readonly leftOut: LeftOut;
      readonly limit: number;
      /** Memory for the rows of each hook. */
      readonly memory: readonly SharedArrayBuffer[];
    }
  /** Ends the thread, after the current pass. */
  | 'close';

interface PassReady {
  readonly kind: 'ready';
  /** Max contexts of a pass. */
  readonly contexts: number;
}

/** The activations are in the memory given with the request. */
interface PassRows extends Pick<PassResult, 'norms' | 'count'>, Omit<Rows, 'activation'> {
  readonly kind: 'rows';
  /** Number of contexts with rows: the first ones. */
  readonly used: number;
}

export type PassReply = PassReady | PassRows | RefusedReply;
