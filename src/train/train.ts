import type { ActivationArray } from '../activations/arrow-files.js';
import type { Batches } from '../activations/source.js';
import { Interrupted, Refusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { heard } from '../progress/heard.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { checkResampleSteps } from './dead-window.js';
import { finishedIn, stateNotKept } from './finished.js';
import { continuedCourse, recordedSource } from './further.js';
import type { MetricsRecord } from './metrics-record.js';
import { kept } from './run-directory.js';
import { openSource } from './source.js';
import { Trainer } from './trainer.js';
import { reportVerdict } from './verdict.js';

/**
 * Trains an SAE on activations and writes it to config.out; its last figures are reported.
 *
 * @returns the directory
 */
export async function train(config: TrainConfig, progress: Progress, stop: StopRequest): Promise<string> {
  // Before the source, which may be a model that takes minutes to open.
  checkResampleSteps(config);
  if (await finishedAlone(config)) return judged(config, progress);
  const source = await openSource(config, progress, stop);
  let trainer: Trainer | undefined;
  try {
    const batches = source.batches(config.order, config.seed);
    const begin = (steps: number) => batches.seek(steps * config.batch);
    trainer = await Trainer.open(config, { source, batches, begin }, (line) => progress.say(line), stop);
    if (trainer) {
      progress.say(trainer.lambda.sentence);
      progress.say(trainer.memory);
      await loop(trainer, batches, config, progress, stop);
      await trainer.finish();
    }
    await source.passOver?.();
  } finally {
    await trainer?.close();
    await source.close();
  }
  return judged(config, progress);
}

/**
 * Is nothing to be trained on, and the SAE in --out finished? Then --resume alone has nothing to do.
 *
 * @throws Refusal where more steps, or other settings, are asked for
 */
async function finishedAlone(config: TrainConfig): Promise<boolean> {
  if (!config.resume || config.activations !== undefined || config.model !== undefined) return false;
  const finished = await finishedIn(config.out);
  if (!finished) return false;
  const { path, settings, steps } = finished;
  const init = typeof settings.init_sha256 === 'string' ? settings.init_sha256 : undefined;
  const wanted = continuedCourse(path, settings, steps, config, recordedSource(settings), init).plan.steps;
  if (wanted > steps) throw stateNotKept(config.out, steps);
  return true;
}

/** @throws Refusal where --strict is given and the finished SAE is useless */
async function judged({ out, strict }: TrainConfig, progress: Progress): Promise<string> {
  const faults = await reportVerdict(out, progress);
  if (!strict || faults.length === 0) return out;
  const [message, remedy] = (['message', 'remedy'] as const).map((part) =>
    faults.map((fault) => fault[part]).join(' '),
  );
  throw new Refusal(`The SAE in ${out} is written, but useless (--strict). ${message}`, remedy);
}

/** Steps to the end; the next batch is gathered while the engine's threads are at work. */
async function loop(
  trainer: Trainer,
  batches: Batches,
  config: TrainConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const { batch } = config;
  progress.begin(`training ${config.arch}`, trainer.wanted * batch, 'token');
  progress.update(trainer.steps * batch);
  const left = () => kept(trainer.steps, trainer.wanted, config.out);
  const keep = async () => {
    await trainer.save();
    progress.end();
  };
  // One batch is in the engine while the next is gathered: two arrays serve all steps.
  const used: ActivationArray[] = [];
  let ahead: Promise<ActivationArray> | undefined;
  while (trainer.steps < trainer.wanted) {
    const { steps } = trainer;
    const x = await (ahead ?? batches.next(batch, used.shift())).catch(async (cause) => {
      // Rows that do not come must not cost the steps that were made.
      await keep();
      if (stop.signal) throw new Interrupted(stop.signal, left());
      progress.say(left());
      throw cause;
    });
    const stepping = trainer.step(x);
    ahead = steps + 1 < trainer.wanted && !trainer.looksAtInputs(steps) ? batches.next(batch, used.shift()) : undefined;
    // If the step fails first, nobody waits for this one.
    ahead?.catch(() => {});
    await stepping;
    used.push(x);
    progress.update(trainer.steps * batch, figures(trainer.last));
    if (trainer.steps < trainer.wanted && (await heard(stop))) {
      await keep();
      throw new Interrupted(stop.signal!, left());
    }
  }
  progress.end();
}

function figures(line: MetricsRecord | undefined): string {
  return line ? `· L0 ${line.l0.toFixed(1)} · EV ${line.explained_variance?.toFixed(3) ?? '–'}` : '';
}
