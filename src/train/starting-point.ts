import type { SourceDescription } from '../activations/activation-source.js';
import type { TrainConfig } from '../config/stages/train.js';
import type { Unchanged } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import { cores } from '../machine/cores.js';
import { canConvert, convert, expressible, folded, scaleActivations } from '../sae/convert.js';
import { directionsInThreads } from '../sae/directions.js';
import { ARCHITECTURES, initialise, parametersOf, trainingOf } from '../sae/registry.js';
import type { Parameters, Sae } from '../sae/sae.js';
import { checkModelOf, openSameSae, readSae, type SaeFiles } from '../sae/saelens.js';
import { type EngineSettings, sizesOf, type TrainerState } from './engines/engine.js';
import { followedBy, isTrained, optionsOf } from './engines/state.js';
import { type Sample, startsSparse, startsWithin } from './estimates.js';
import { arithmeticMean, geometricMedian, MEDIAN_ROWS } from './geometric-median.js';
import { findBroken } from './not-finite.js';
import { START_ROWS, startSparse } from './sparse-start.js';
import { type SubspaceSizes, subspaceRows, subspaceSentence, withinSubspace } from './subspace.js';

/** The SAE of --init; `unchanged.digest` is the hash of its content, which a run records. */
interface Init {
  readonly path: string;
  readonly files: SaeFiles;
  readonly unchanged: Unchanged;
}

/**
 * Opens the SAE of --init; undefined if there is none.
 *
 * @param directory where it is, if elsewhere than --init says (saeDirectory)
 * @throws Refusal if it is from another hook or model, or does not fit the run
 */
export async function openInit(
  { init: path, anyModel, anyHook, activations }: TrainConfig,
  about: SourceDescription,
  settings: EngineSettings,
  directory = path,
): Promise<Init | undefined> {
  if (path === undefined) return undefined;
  const { architecture, dIn, dOut, dSae } = settings;
  const { files, unchanged } = await openSameSae(directory!, dOut === undefined ? undefined : 'transcoder');
  const differs = (what: string, found: unknown, wanted: unknown) => {
    throw new Refusal(
      `${path} has ${what} ${found}, but this run has ${wanted}.`,
      `Start from ${expressible(architecture)} of the same size.`,
      'train/init-shape',
    );
  };
  if (!canConvert(files.architecture, architecture)) differs('architecture', files.architecture, architecture);
  if (files.dIn !== dIn) differs('d_in', files.dIn, `${dIn} (${activations ?? about.place})`);
  if (files.dSae !== dSae) differs('d_sae', files.dSae, dSae);
  if (dOut !== undefined) {
    checkTranscoder(path, files, settings);
    if (files.dOut !== dOut) differs('d_out', files.dOut, `${dOut} (${about.target?.hook})`);
  }
  const { hook_name: from, hook_name_out: to } = files.metadata;
  for (const [hook, wanted] of [
    [from, about.hook],
    [to, about.target?.hook],
  ]) {
    if (hook === undefined || hook === wanted || wanted === undefined || anyHook) continue;
    throw new Refusal(
      `${path} was trained at ${hook}, but ${about.place} contains activations at ${wanted}.`,
      'Start from an SAE of the same hook, or add --any-hook to use this one anyway.',
      'train/init-hook',
    );
  }
  if (!anyModel) {
    const now = { label: about.model.name, fingerprint: about.model.fingerprint };
    checkModelOf(path, files.metadata, now, 'Start from an SAE of the same model, or give --any-model.');
  }
  return { path, files, unchanged };
}

/** @throws Refusal if a run with a target cannot start from it */
function checkTranscoder(path: string, { transcoder, skip }: SaeFiles, settings: EngineSettings): void {
  if (!transcoder) {
    throw new Refusal(
      `${path} reconstructs the hook it reads, but this run has another target.`,
      'Start from a transcoder of the same two hooks, or omit --init.',
      'train/init-shape',
    );
  }
  if (!skip || settings.skip) return;
  throw new Refusal(
    `${path} has a skip connection, but this run has none.`,
    'Add --skip, or start from a transcoder without one.',
    'train/init-shape',
  );
}

/**
 * Random weights, or the SAE of --init at the training scale. An SAE of another architecture, or with decoder rows that
 * do not have norm 1, is rewritten if its function stays the same.
 *
 * @param sample of activations, raw
 * @param say told about rows with another norm
 */
export async function startingPoint(
  config: TrainConfig,
  settings: EngineSettings,
  init: Init | undefined,
  sample: (rows: number) => Promise<Sample>,
  say: (line: string) => void,
): Promise<{ readonly state: TrainerState; readonly subspace?: SubspaceSizes }> {
  const { architecture, dSae, scale, scaleOut } = settings;
  let sae: Sae;
  let subspace: SubspaceSizes | undefined;
  if (init) {
    const initial = await initialSae(init, settings);
    if (initial.rows > 0) {
      say(
        `${init.path}: ${initial.rows} of ${dSae} decoder rows have a norm other than 1; the norms are folded into the encoder and its biases.`,
      );
    }
    sae = scaleActivations(initial.sae, scale, scaleOut);
  } else {
    const sizes = sizesOf(settings);
    const { x, y } = await sample(rowsOfStart(config, settings));
    let directions = await directionsInThreads(sizes, config.seed, settings.threads || cores());
    if (startsWithin(config)) {
      const within = await withinSubspace(directions, { x, y }, config, settings);
      [directions, subspace] = [within.directions, within.sizes];
      say(subspaceSentence(subspace, settings));
    }
    sae = initialise(architecture, sizes, config.seed, optionsOf(settings), directions);
    if (config.bDecInit !== 'zero') {
      const centre = config.bDecInit === 'mean' ? arithmeticMean : geometricMedian;
      sae.parameters.b_dec = Float32Array.from(
        centre((y ?? x).subarray(0, MEDIAN_ROWS * sae.dOut), sae.dOut),
        (value) => value * (scaleOut ?? scale),
      );
    }
    if (startsSparse(config, architecture)) {
      const first = x.subarray(0, START_ROWS * sae.dIn);
      await startSparse(sae, inputOf(first, sae, settings), optionsOf(settings), settings.threads ?? 0);
    }
  }
  return { state: new Map(Object.entries(sae.parameters)), ...(subspace && { subspace }) };
}

/** Sample size for initialising random weights. */
function rowsOfStart(config: TrainConfig, settings: EngineSettings): number {
  return Math.max(
    config.bDecInit === 'zero' ? 0 : MEDIAN_ROWS,
    startsSparse(config, settings.architecture) ? START_ROWS : 0,
    subspaceRows(config, settings),
  );
}

/** Encoder inputs from raw activations [rows × d_in], at the training scale. */
function inputOf(x: Float32Array, { dIn, parameters }: Sae, { scale, dOut }: EngineSettings): Float32Array {
  // Nothing is subtracted from an input that is not the target.
  const taken = dOut === undefined ? parameters.b_dec! : new Float32Array(dIn);
  return x.map((value, k) => value * scale - taken[k % dIn]!);
}

/** Frozen parameters of --init, at the scale of raw activations: scaling them back and forth would round them. */
export async function frozenParameters(settings: EngineSettings, init: Init | undefined): Promise<Parameters> {
  const scaled =
    settings.dOut === undefined ? ARCHITECTURES[settings.architecture].proportional : parametersOf(settings);
  // A parameter that tracks another quantity has no gradient, but moves anyway.
  const follows = followedBy(settings)?.parameter;
  const names = scaled.filter((name) => !isTrained(settings, name) && name !== follows);
  if (!init || names.length === 0) return {};
  const { parameters } = (await initialSae(init, settings)).sae;
  return Object.fromEntries(names.filter((name) => parameters[name]).map((name) => [name, parameters[name]]));
}

/** @throws Refusal if it cannot be trained */
async function initialSae(
  { path, files, unchanged }: Init,
  settings: EngineSettings,
): Promise<{ sae: Sae; rows: number }> {
  const read = await readSae(files);
  await unchanged.check();
  const trainsDecoder = isTrained(settings, 'W_dec');
  const { sae: plain, rows } = folded(read, trainsDecoder, path);
  const sae = convert(plain, settings.architecture);
  const broken = findBroken(new Map(Object.entries(sae.parameters)), sizesOf(settings).dOut, trainsDecoder);
  if (broken)
    throw new Refusal(`${path} cannot be trained: ${broken}.`, 'Start from another SAE.', 'train/init-not-finite');
  const { nonNegative = [], checkStart } = trainingOf(settings.architecture);
  for (const name of nonNegative) {
    const negative = sae.parameters[name]?.filter((value) => value < 0).length ?? 0;
    if (negative === 0) continue;
    throw new Refusal(
      `${path} has ${negative} of ${settings.dSae} values of ${name} below 0, but training keeps ${name} non-negative.`,
      `Start from an SAE whose ${name} is nowhere negative.`,
      'train/init-negative',
    );
  }
  checkStart?.(sae, optionsOf(settings), path);
  return { sae, rows };
}
