import { availableParallelism, totalmem } from 'node:os';
import type { ActivationSource } from '../activations/source.js';
import { Interrupted, Refusal, UsageRefusal } from '../config/refusal.js';
import { heard } from '../progress/heard.js';
import type { Progress, StopRequest, Table } from '../progress/progress.js';
import { chooseEngine, memoryNeeded } from '../train/engines/open.js';
import type { MetricsRecord } from '../train/metrics-record.js';
import { engineSettings } from '../train/run-settings.js';
import { openSource } from '../train/source.js';
import { Trainer } from '../train/trainer.js';
import { type Fault, reportVerdict } from '../train/verdict.js';
import type { SweepRun } from './runs.js';
import { SharedBatches } from './shared-batches.js';
import { Slots } from './slots.js';

/** Share of the machine's memory that runs of one pass may take together. */
const MEMORY_SHARE = 0.8;

/** How a run ended. */
export interface Outcome {
  readonly run: SweepRun;
  /** `finished before` where --resume found it so; cause and remedy where it failed. */
  readonly state: 'trained' | 'finished before' | { readonly failed: string };
  /** What makes its SAE useless. */
  readonly faults: readonly Fault[];
}

/** A run under way, with its row in the live table. */
interface Lane {
  readonly run: SweepRun;
  readonly trainer: Trainer;
  readonly row: number;
}

/**
 * Trains runs that read the same activations in the same order, in as few passes over them as memory allows. Every run
 * takes the same steps as it would alone with the same threads; cores are shared by letting as many runs step at a time
 * as there are cores for their threads.
 *
 * @throws Interrupted when asked to stop, after every run under way has written a checkpoint
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
      try {
        const batches = source.batches(order, seed);
        for (const run of together) {
          const say = (line: string) => progress.say(`${run.name}: ${line}`);
          const trainer = await Trainer.open(run.config, { source, batches }, say, stop).catch(refused);
          if (trainer instanceof Refusal) {
            outcomes.push({ run, state: { failed: said(trainer) }, faults: [] });
            table.finish(rowOf(run), `failed: ${trainer.message}`);
          } else if (trainer) lanes.push({ run, trainer, row: rowOf(run) });
          else {
            table.finish(rowOf(run), 'finished before');
            const faults = await reportVerdict(run.config.out, progress, run.name);
            outcomes.push({ run, state: 'finished before', faults });
          }
        }
        outcomes.push(...(await trainLanes(lanes, batches, table, progress, stop)));
      } finally {
        await Promise.all(lanes.map(({ trainer }) => trainer.close()));
      }
    }
  } finally {
    await source.close();
  }
  return outcomes;
}

/** One run that fails must not take the others' work with it; a fault of the command or of the program must be seen. */
function refused(error: unknown): Refusal {
  if (error instanceof Refusal && !(error instanceof UsageRefusal)) return error;
  throw error;
}

const said = ({ message, remedy }: Refusal) => [message, remedy ?? ''].join(' ').trim();

/** Runs in groups that fit into memory together. */
function passes(runs: readonly SweepRun[], source: ActivationSource): SweepRun[][] {
  const groups: SweepRun[][] = [];
  let left = 0;
  for (const run of runs) {
    const { config } = run;
    const settings = engineSettings(config, source.about, 1);
    const bytes = memoryNeeded(chooseEngine(config, settings.architecture), settings);
    if (groups.length === 0 || bytes > left) {
      groups.push([]);
      left = MEMORY_SHARE * totalmem();
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
  // Not waited for: rows that cannot be read fail the runs that wait for them, one by one.
  const ready = batches.seek(first);
  ready.catch(() => {});
  const shared = new SharedBatches(
    () => ready.then(() => batches.next(size)),
    lanes.map(({ trainer }) => trainer.steps),
  );
  const threads = Math.max(...lanes.map(({ run }) => run.config.threads || availableParallelism()));
  const slots = new Slots(Math.max(1, Math.floor(availableParallelism() / threads)));
  let interrupted: Interrupted | undefined;

  const outcomes = await Promise.all(
    lanes.map(async ({ run, trainer, row }, i): Promise<Outcome> => {
      let faults: readonly Fault[] = [];
      try {
        table.update(row, trainer.steps * size, figures(trainer.last));
        while (trainer.steps < trainer.wanted && !(await heard(stop))) {
          const batch = await shared.next(i).catch(async (cause) => {
            // Rows that do not come must not cost the steps that were made.
            await trainer.save();
            throw cause;
          });
          await slots.use(() => trainer.step(batch));
          table.update(row, trainer.steps * size, figures(trainer.last));
        }
        if (trainer.steps < trainer.wanted) {
          await trainer.save();
          interrupted ??= new Interrupted(stop.signal!, 'every SAE under way has kept a checkpoint.');
        } else {
          await trainer.finish();
          table.finish(row, figures(trainer.last));
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
        return { run, state: { failed: said(refusal) }, faults };
      } finally {
        shared.leave(i);
      }
    }),
  );
  if (interrupted) throw interrupted;
  return outcomes;
}

function figures(line: MetricsRecord | undefined): string {
  return line ? `L0 ${line.l0.toFixed(1)} · EV ${line.explained_variance?.toFixed(3) ?? '–'}` : '';
}
