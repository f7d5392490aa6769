import type { ActivationSource, Batch, Batches } from '../activations/activation-source.js';
import { openStoreSource } from '../activations/store-source.js';
import { openStreamSource } from '../activations/stream-source.js';
import { flagName } from '../config/flags.js';
import type { TrainConfig } from '../config/stages/train.js';
import { Interrupted, Refusal, UsageRefusal } from '../errors/refusal.js';
import { sayTf32 } from '../onnx/tf32.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { stopRequested } from '../progress/stop.js';
import { openEngine } from './engines/open.js';
import { l0AndVariance } from './metrics-log.js';
import { finishedIn, kept, stateNotKept } from './run-directory.js';
import { checkFlags, continuedCourse, recordedSource } from './run-settings.js';
import { sampledOnce } from './sampled-once.js';
import { checkResampleSteps } from './schedule.js';
import { checkTracking } from './tracking.js';
import { Trainer } from './trainer.js';
import { reportVerdict } from './verdict.js';

/**
 * Trains an SAE on activations and writes it to config.out; reports its final figures.
 *
 * @param open opens an engine; tests and benchmarks substitute another
 * @param given source to train on, in place of the one in the flags; closed in the end
 * @returns the directory
 */
export async function train(
  config: TrainConfig,
  progress: Progress,
  stop: StopRequest,
  open = openEngine,
  given?: ActivationSource,
): Promise<string> {
  // Before the source, which may be a model that takes minutes to open.
  checkResampleSteps(config);
  checkFlags(config);
  await checkTracking(config);
  if (!given && (await finishedAlone(config))) return judged(config, progress);
  const source = given ?? (await openSource(config, progress, stop));
  let trainer: Trainer | undefined;
  let dealing: Promise<unknown> = Promise.resolve();
  try {
    const batches = source.batches(config.order, config.seed);
    const next = (into: Batch | undefined) => {
      const batch = batches.next(config.batch, into);
      // Errors go to whoever awaits it; if a step fails first, nobody does.
      dealing = batch.catch(() => {});
      return batch;
    };
    trainer = await openTrainer(config, source, batches, progress, stop, open);
    if (trainer) {
      progress.say(trainer.aboutLambda);
      progress.say(trainer.memory);
      // For the reference engine, or a live harvest.
      if (config.engine !== 'cuda') sayTf32(progress.say, config.device);
      await loop(trainer, next, config, progress, stop);
      await trainer.finish();
    }
    await source.passOver?.();
  } finally {
    try {
      await source.close();
      // It may be dealt into memory that belongs to the engine.
      await dealing;
    } finally {
      await trainer?.close();
    }
  }
  return judged(config, progress);
}

/** All its samples of the source come from a single reading, which is discarded when batches are dealt. */
async function openTrainer(
  config: TrainConfig,
  source: ActivationSource,
  batches: Batches,
  progress: Progress,
  stop: StopRequest,
  open: typeof openEngine,
): Promise<Trainer | undefined> {
  const looks = sampledOnce(batches);
  const begin = async (steps: number) => {
    await looks.done();
    await batches.seek(steps * config.batch);
  };
  try {
    return await Trainer.open(config, { source, batches: looks, begin }, (line) => progress.say(line), stop, open);
  } finally {
    await looks.done();
  }
}

/**
 * Is the SAE in --out finished, with no further training requested? Then --resume has nothing to do.
 *
 * @throws Refusal if more steps, or other settings, are requested
 */
async function finishedAlone(config: TrainConfig): Promise<boolean> {
  if (!config.resume || config.activations !== undefined || config.model !== undefined) return false;
  const finished = await finishedIn(config.out);
  if (!finished) return false;
  const { path, settings, steps } = finished;
  const about = recordedSource(settings, finished);
  const wanted = continuedCourse(path, settings, steps, config, about, settings.init_sha256).plan.steps;
  if (wanted > steps) throw stateNotKept(config.out, steps);
  return true;
}

/** @throws Refusal if --strict is given and the finished SAE is useless */
async function judged({ out, strict }: TrainConfig, progress: Progress): Promise<string> {
  const faults = await reportVerdict(out, progress);
  if (!strict || faults.length === 0) return out;
  const [message, remedy] = (['message', 'remedy'] as const).map((part) =>
    faults.map((fault) => fault[part]).join(' '),
  );
  throw new Refusal(`The SAE in ${out} is written, but useless (--strict). ${message}`, remedy, 'train/useless');
}

/** Steps to the end; the next batch is gathered while the engine's threads compute. */
async function loop(
  trainer: Trainer,
  next: (into: Batch | undefined) => Promise<Batch>,
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
  // One batch is in the engine while the next is gathered: two arrays serve all steps, the engine's own if it has any.
  const used: Batch[] = [...trainer.buffers];
  let ahead: Promise<Batch> | undefined;
  while (trainer.steps < trainer.wanted) {
    const { steps } = trainer;
    const x = await (ahead ?? next(used.shift())).catch(async (cause) => {
      // A missing batch must not lose the steps made so far.
      await keep();
      if (stop.signal) throw new Interrupted(stop.signal, left());
      progress.say(left());
      throw cause;
    });
    const stepping = trainer.step(x, true);
    ahead = steps + 1 < trainer.wanted && !trainer.looksAtInputs(steps) ? next(used.shift()) : undefined;
    await stepping;
    used.push(x);
    progress.update(trainer.steps * batch, trainer.last && `· ${l0AndVariance(trainer.last)}`);
    if (trainer.steps < trainer.wanted && (await stopRequested(stop))) {
      await keep();
      throw new Interrupted(stop.signal!, left());
    }
  }
  progress.end();
}

/** `--activations` value for standard input. */
const STANDARD_INPUT = '-';

/** Flags of a running model, if given. */
const OF_MODEL = [
  'model',
  'corpus',
  'hook',
  'hookOut',
  'revision',
  'context',
  'chatField',
  'roles',
  'modelDevice',
] as const;

/**
 * Opens the source of activations: a store, standard input, or a running model.
 *
 * @throws UsageRefusal if the flags give none of the three, or more than one
 */
export function openSource(config: TrainConfig, progress: Progress, stop: StopRequest): Promise<ActivationSource> {
  const { activations, target } = config;
  if (target !== undefined && (activations === undefined || activations === STANDARD_INPUT)) {
    throw new UsageRefusal(
      `--target is a store, but ${activations === undefined ? 'no store is given to align it with' : 'standard input contains the rows of one hook'}.`,
      'Give --activations OUT/<hook> of the same harvest, or --model with --hook and --hook-out.',
      'train/target-alone',
    );
  }
  if (activations === undefined) return openModel(config, progress, stop);
  const other = OF_MODEL.find((key) => config[key] !== undefined);
  if (other !== undefined) {
    throw new UsageRefusal(
      `--activations ${activations} is already harvested, but --${flagName(other)} applies to a running model.`,
      'Give either --activations, or --model, --corpus and --hook.',
      'train/store-and-model',
    );
  }
  if (activations !== STANDARD_INPUT) return openStores(activations, config);
  return openStandardInput(config, progress, stop);
}

/** @throws UsageRefusal if the target is the input, which is the default */
async function openStores(activations: string, { target, poolRows }: TrainConfig): Promise<ActivationSource> {
  const source = await openStoreSource({ activations, target, poolRows });
  if (source.about.target?.hook === source.about.hook) throw targetIsInput('target', source.about.hook);
  return source;
}

function targetIsInput(flag: 'target' | 'hook-out', hook: string): UsageRefusal {
  return new UsageRefusal(
    `--${flag} refers to ${hook}, which is the input.`,
    `Omit --${flag} to train an SAE of that hook.`,
    'train/target-is-input',
  );
}

async function openStandardInput(
  { batch, steps, tokens, poolRows }: TrainConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<ActivationSource> {
  const say = (line: string) => progress.say(line);
  const source = await openStreamSource(process.stdin, { place: 'standard input', poolRows, stop, say });
  const { place, rows } = source.about;
  const wanted = steps === undefined ? (tokens ?? 0) : steps * batch;
  if (wanted <= rows) return source;
  await source.close();
  throw new UsageRefusal(
    `${place} contains ${rows} activations that can be read once, but ${wanted} are requested.`,
    'Use fewer --tokens or --steps, or harvest more.',
    'train/too-few-activations',
  );
}

async function openModel(config: TrainConfig, progress: Progress, stop: StopRequest): Promise<ActivationSource> {
  const { model, corpus, hook, steps, batch, device, modelDevice } = config;
  if (model === undefined || corpus === undefined || hook === undefined) {
    const given = (['model', 'corpus', 'hook'] as const).filter((key) => config[key] !== undefined);
    throw new UsageRefusal(
      given.length === 0
        ? 'No activations to train on are given.'
        : `Training on a running model needs --model, --corpus and --hook; only ${given.map((key) => `--${key}`).join(' and ')} is given.`,
      'Give --activations DIR (a store), --activations - (standard input), or --model, --corpus and --hook.',
      'train/no-source',
    );
  }
  const tokens = config.tokens ?? (steps === undefined ? undefined : steps * batch);
  if (tokens === undefined) {
    throw new UsageRefusal(
      '--model reads its corpus repeatedly, so a run has no natural end.',
      'Set the length of training with --tokens or --steps.',
      'train/no-end',
    );
  }
  if (hook === config.hookOut) throw targetIsInput('hook-out', hook);
  const { contextsPerPass: contexts, modelThreads: threads, poolRows: windowRows } = config;
  const { openLiveSource } = await import('../harvest/live-source.js');
  return openLiveSource(
    { ...config, model, corpus, hook, tokens, batch: contexts, windowRows, device: modelDevice ?? device, threads },
    progress,
    stop,
  );
}
