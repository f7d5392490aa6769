import type { ActivationSource, Batch } from '../activations/activation-source.js';
import { Interrupted, Refusal, UsageRefusal } from '../errors/refusal.js';
import { cores } from '../machine/cores.js';
import { memory } from '../machine/memory.js';
import type { Progress, StopRequest, Table } from '../progress/progress.js';
import { stopRequested } from '../progress/stop.js';
import { chooseEngine, memoryNeeded } from '../train/engines/open.js';
import { l0AndVariance } from '../train/metrics-log.js';
import { engineSettings } from '../train/run-settings.js';
import { sampledOnce } from '../train/sampled-once.js';
import { openSource } from '../train/train.js';
import { Trainer } from '../train/trainer.js';
import { type Fault, reportVerdict } from '../train/verdict.js';
import type { SweepRun } from './runs.js';

/** Max share of the machine's memory for the runs of one pass. */
const MEMORY_SHARE = 0.8;

/** How a run ended. */
export interface Outcome {
  readonly run: SweepRun;
  /** `finished before` if --resume found it complete; cause and remedy if it failed. */
  readonly state: 'trained' | 'finished before' | { readonly failed: string };
  /** What makes its SAE useless. */
  readonly faults: readonly Fault[];
}

/** A run in progress, with its row in the live table. */
interface Lane {
  readonly run: SweepRun;
  readonly trainer: Trainer;
  readonly row: number;
}

/**
 * Trains runs that read the same activations in the same order, in as few passes over them as memory allows. Every run
 * takes the same steps as it would alone with the same number of threads; as many runs step at a time as there are
 * cores for their threads.
 *
 * @throws Interrupted when asked to stop, after every run in progress has written a checkpoint
 */
export async function trainRuns(
  runs: readonly SweepRun[],
  table: Table,
  rowOf: (run: SweepRun) => number,
  progress: Progress,
  stop: StopRequest,
): Promise<Outcome[]> {
  const { order, seed } = runs[0]!.config;
  const source = await openSource(runs[0]!.config, progress, stop);
  const outcomes: Outcome[] = [];
  try {
    for (const together of passes(runs, source)) {
      const lanes: Lane[] = [];
      const batches = source.batches(order, seed);
      const looks = sampledOnce(batches);
      try {
        for (const run of together) {
          const say = (line: string) => progress.say(`${run.name}: ${line}`);
          const trainer = await Trainer.open(run.config, { source, batches: looks }, say, stop).catch(refused);
          if (trainer instanceof Refusal) {
            outcomes.push({ run, state: { failed: sentences(trainer) }, faults: [] });
            table.finish(rowOf(run), `failed: ${trainer.message}`);
          } else if (trainer) lanes.push({ run, trainer, row: rowOf(run) });
          else {
            table.finish(rowOf(run), 'finished before');
            const faults = await reportVerdict(run.config.out, progress, run.name);
            outcomes.push({ run, state: 'finished before', faults });
          }
        }
        await looks.done();
        outcomes.push(...(await trainLanes(lanes, batches, table, progress, stop)));
      } finally {
        await looks.done();
        await Promise.all(lanes.map(({ trainer }) => trainer.close()));
      }
    }
  } finally {
    await source.close();
  }
  return outcomes;
}

/** A failed run must not take down the others; an error of the command or a bug must surface. */
function refused(error: unknown): Refusal {
  if (error instanceof Refusal && !(error instanceof UsageRefusal)) return error;
  throw error;
}

const sentences = ({ message, remedy }: Refusal) => [message, remedy ?? ''].join(' ').trim();

/** Groups of runs that fit into memory together. */
function passes(runs: readonly SweepRun[], source: ActivationSource): SweepRun[][] {
  const groups: SweepRun[][] = [];
  let left = 0;
  for (const run of runs) {
    const { config } = run;
    const settings = engineSettings(config, source.about);
    const bytes = memoryNeeded(chooseEngine(config, settings), settings);
    if (groups.length === 0 || bytes > left) {
      groups.push([]);
      left = MEMORY_SHARE * memory().limit;
    }
    groups.at(-1)!.push(run);
    left -= bytes;
  }
  return groups;
}

async function trainLanes(
  lanes: readonly Lane[],
  batches: ReturnType<ActivationSource['batches']>,
  table: Table,
  progress: Progress,
  stop: StopRequest,
): Promise<Outcome[]> {
  if (lanes.length === 0) return [];
  const size = lanes[0]!.run.config.batch;
  const first = Math.min(...lanes.map(({ trainer }) => trainer.steps)) * size;
  // Not awaited: unreadable rows fail the runs that wait for them, one by one.
  const ready = batches.seek(first);
  ready.catch(() => {});
  const shared = new SharedBatches(
    () => ready.then(() => batches.next(size)),
    lanes.map(({ trainer }) => trainer.steps),
  );
  const threads = Math.max(...lanes.map(({ run }) => run.config.threads || cores()));
  const slots = new Slots(Math.max(1, Math.floor(cores() / threads)));
  let interrupted: Interrupted | undefined;

  const outcomes = await Promise.all(
    lanes.map(async ({ run, trainer, row }, i): Promise<Outcome> => {
      let faults: readonly Fault[] = [];
      try {
        table.update(row, trainer.steps * size, l0AndVariance(trainer.last));
        while (trainer.steps < trainer.wanted && !(await stopRequested(stop))) {
          const batch = await shared.next(i).catch(async (cause) => {
            // A missing batch must not lose the steps made so far.
            await trainer.save();
            throw cause;
          });
          await slots.use(() => trainer.step(batch));
          table.update(row, trainer.steps * size, l0AndVariance(trainer.last));
        }
        if (trainer.steps < trainer.wanted) {
          await trainer.save();
          interrupted ??= new Interrupted(stop.signal!, 'every SAE in progress has written a checkpoint.');
        } else {
          await trainer.finish();
          table.finish(row, l0AndVariance(trainer.last));
          faults = await reportVerdict(run.config.out, progress, run.name);
        }
        return { run, state: 'trained', faults };
      } catch (error) {
        if (error instanceof Interrupted) {
          interrupted ??= error;
          return { run, state: 'trained', faults };
        }
        const refusal = refused(error);
        table.finish(row, `failed: ${refusal.message}`);
        return { run, state: { failed: sentences(refusal) }, faults };
      } finally {
        shared.leave(i);
      }
    }),
  );
  if (interrupted) throw interrupted;
  return outcomes;
}

/** Max number of batches that the fastest reader may be ahead of the slowest, and so the max number in memory. */
const LEAD = 8;

/**
 * Batches read once and consumed by several readers, each in order from its own position. A reader that is far ahead
 * waits for the slowest; one that has left is no longer waited for.
 */
export class SharedBatches<T = Batch> {
  /** Batches in memory, by number, that some reader has yet to consume. */
  readonly held = new Map<number, Promise<T>>();
  private readonly positions: number[];
  private dealt: number;
  private waiting: (() => void)[] = [];
  private last: Promise<unknown> = Promise.resolve();

  /**
   * @param read returns the next batch, starting at batch min(positions)
   * @param positions next batch of each reader
   */
  constructor(
    private readonly read: () => Promise<T>,
    positions: readonly number[],
    private readonly lead = LEAD,
  ) {
    this.positions = [...positions];
    this.dealt = this.slowest();
  }

  /** The next batch for reader `reader`. All readers get the same array and must not write to it. */
  async next(reader: number): Promise<T> {
    const index = this.positions[reader]!;
    while (index - this.slowest() >= this.lead) await new Promise<void>((resolve) => this.waiting.push(resolve));
    while (this.dealt <= index) {
      const batch = this.last.then(() => this.read());
      this.last = batch;
      // Waiting readers receive the error; if all have left, nobody does.
      batch.catch(() => {});
      // Batches that nobody needs after the slowest reader has left are skipped.
      if (this.dealt >= this.slowest()) this.held.set(this.dealt, batch);
      this.dealt++;
    }
    const batch = await this.held.get(index)!;
    this.move(reader, index + 1);
    return batch;
  }

  /** The reader consumes no more batches. */
  leave(reader: number): void {
    this.move(reader, Number.POSITIVE_INFINITY);
  }

  private move(reader: number, position: number): void {
    this.positions[reader] = position;
    const slowest = this.slowest();
    for (const index of this.held.keys()) if (index < slowest) this.held.delete(index);
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
  }

  private slowest(): number {
    return Math.min(...this.positions);
  }
}

/** Limits concurrency, in order of request. */
export class Slots {
  private readonly queue: (() => void)[] = [];

  constructor(private free: number) {}

  async use<T>(work: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.queue.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.queue.shift();
      if (next) next();
      else this.free++;
    }
  }
}
