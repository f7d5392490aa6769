import type { ActivationSource } from '../activations/source.js';
import { openStoreSource } from '../activations/store-source.js';
import { openStreamSource } from '../activations/stream-source.js';
import { flagName } from '../config/flags.js';
import { UsageRefusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { openLiveSource } from '../harvest/live-source.js';
import type { Progress, StopRequest } from '../progress/progress.js';

/** `--activations` that means standard input. */
const STANDARD_INPUT = '-';

/** Flags that say how a model at work is run, where they are given. */
const OF_MODEL = ['model', 'corpus', 'hook', 'revision', 'context', 'modelDevice'] as const;

/**
 * Opens what training takes its activations from: a store, standard input, or a model at work.
 *
 * @throws UsageRefusal when the flags name none of the three, or more than one
 */
export function openSource(config: TrainConfig, progress: Progress, stop: StopRequest): Promise<ActivationSource> {
  const { activations, poolRows } = config;
  if (activations === undefined) return openModel(config, progress, stop);
  const other = OF_MODEL.find((key) => config[key] !== undefined);
  if (other !== undefined) {
    throw new UsageRefusal(
      `--activations ${activations} is already harvested, and --${flagName(other)} is for running a model.`,
      'Give either --activations, or --model, --corpus and --hook.',
    );
  }
  if (activations !== STANDARD_INPUT) return openStoreSource(activations, poolRows);
  return openStandardInput(config, progress, stop);
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
    `${place} brings ${rows} activations once, and ${wanted} are asked for.`,
    'Ask for fewer --tokens or --steps, or harvest more.',
  );
}

function openModel(config: TrainConfig, progress: Progress, stop: StopRequest): Promise<ActivationSource> {
  const { model, corpus, hook, steps, batch, device, modelDevice } = config;
  if (model === undefined || corpus === undefined || hook === undefined) {
    const given = (['model', 'corpus', 'hook'] as const).filter((key) => config[key] !== undefined);
    throw new UsageRefusal(
      given.length === 0
        ? 'There is nothing to train on.'
        : `A model at work needs --model, --corpus and --hook; only ${given.map((key) => `--${key}`).join(' and ')} is given.`,
      'Give --activations DIR (a store), --activations - (standard input), or --model, --corpus and --hook.',
    );
  }
  const tokens = config.tokens ?? (steps === undefined ? undefined : steps * batch);
  if (tokens === undefined) {
    throw new UsageRefusal(
      'A model at work reads its corpus again and again, and has no end of its own.',
      'Say how long to train, with --tokens or --steps.',
    );
  }
  const {
    revision,
    offline,
    context,
    textField,
    encoding,
    excludeSpecialTokens,
    dtype,
    precision,
    contextsPerPass,
    modelThreads,
    poolRows,
    seed,
  } = config;
  return openLiveSource(
    {
      ...{
        model,
        revision,
        offline,
        corpus,
        hook,
        tokens,
        context,
        textField,
        encoding,
        excludeSpecialTokens,
        dtype,
        precision,
        seed,
      },
      ...{ batch: contextsPerPass, windowRows: poolRows, device: modelDevice ?? device, threads: modelThreads },
    },
    progress,
    stop,
  );
}
