import type { SteerConfig } from '../config/stages/generation.js';
import { tokenTexts } from '../corpus/token-texts.js';
import { UsageRefusal } from '../errors/refusal.js';
import { type Candidate, openCandidate, sharedBos } from '../eval/candidates.js';
import { chooseBos, choosePrecision } from '../lm/pass.js';
import type { Placement } from '../lm/placement.js';
import { sayTf32 } from '../onnx/tf32.js';
import type { Terminal } from '../progress/progress.js';
import { throwIfStopped } from '../progress/stop.js';
import type { Change } from '../sae/feature-changes.js';
import { saeDirectories } from '../sae/published/open.js';
import { openSae } from '../sae/saelens.js';
import { readChanges } from './change-flags.js';
import { changedPositions } from './changed-positions.js';
import { type RowChanges, rowChanges, unchangedRow, withStrength } from './changes.js';
import { continueTexts } from './continuation.js';
import { lossesByStrength } from './dose.js';
import { modelNotFinite, STOPPED, samplingOf, sayMemory } from './generate.js';
import { type NextTokens, nextTokens } from './next-token.js';
import { openModel, openTextModel, readPrompts, roomFor, type TextModel } from './prompts.js';
import { type SamplingSettings, tokenChooser } from './sampling.js';
import { type SteeredTexts, steeredJson, steeredText } from './steered-texts.js';
import type { SteeredSae } from './steering-graph.js';
import { Stepper } from './stepper.js';
import { tooStrong } from './too-strong.js';

/** A `steer` command, checked and opened. */
export interface SteeringPlan {
  readonly config: SteerConfig;
  readonly sampling: SamplingSettings;
  readonly candidates: readonly Candidate[];
  readonly changes: readonly Change[];
  readonly saes: readonly SteeredSae[];
  readonly model: TextModel;
  readonly prompts: readonly (readonly number[])[];
  /** What is printed before each continuation. */
  readonly shown: readonly string[];
  readonly longest: number;
  /** Positions at which features are changed. */
  readonly at: RowChanges['at'];
  readonly placement: Placement;
  /** The changes for each row of --dose, or the single requested one. */
  readonly doses: readonly (readonly Change[])[];
}

/** `steer`: continues prompts with features changed, and without for comparison. */
export async function steer(config: SteerConfig, terminal: Terminal): Promise<void> {
  const { progress, stop, print } = terminal;
  const plan = await planSteering(config, terminal);
  throwIfStopped(stop, STOPPED);
  const texts = await steerTexts(plan, terminal);
  throwIfStopped(stop, STOPPED);
  const losses = config.corpus === undefined ? undefined : await lossesByStrength(plan, progress, stop);
  const found = { ...texts, losses };
  print(config.json ? JSON.stringify(steeredJson(plan, found), null, 1) : steeredText(plan, found));
}

async function planSteering(config: SteerConfig, { progress, stop }: Terminal): Promise<SteeringPlan> {
  const sampling = samplingOf(config);
  // Before a model that may have to be downloaded.
  const named = [];
  const directories = await saeDirectories(config.sae, config, progress, stop);
  for (const path of config.sae) named.push({ path, dSae: (await openSae(directories.get(path)!, 'transcoder')).dSae });
  const changes = await readChanges(config, named);
  const checkpoint = await openModel(config, progress, stop);
  const candidates: Candidate[] = [];
  for (const path of config.sae) {
    candidates.push(await openCandidate(path, config, checkpoint, directories.get(path)));
  }
  const saes = candidates.map(({ files, hook, input }) => ({ files, hook, input, errorTerm: config.errorTerm }));
  checkOnePerHook(config, candidates);
  const wanted = config.prependBos;
  const bos = wanted === undefined ? sharedBos(candidates, checkpoint.config) : chooseBos(wanted, checkpoint.config);
  const model = await openTextModel(checkpoint, bos);
  const { tokens: prompts, shown } = await readPrompts(model, config);
  const longest = roomFor(prompts, config.tokens, checkpoint);
  const at = changedPositions(config, model.tokenizer.prependBos ? 1 : 0, longest);
  const placement = choosePrecision(config.precision, config.device, checkpoint);
  const doses = config.dose?.map((strength) => withStrength(changes, strength)) ?? [changes];
  return { config, sampling, candidates, changes, saes, model, prompts, shown, longest, at, placement, doses };
}

/** @throws UsageRefusal if two reconstructions would replace the same activation */
function checkOnePerHook({ errorTerm }: SteerConfig, candidates: readonly Candidate[]): void {
  const twice = candidates.find(({ hook }, i) => candidates.findIndex((one) => one.hook.name === hook.name) < i);
  if (errorTerm || twice === undefined) return;
  throw new UsageRefusal(
    `Two SAEs write to ${twice.hook.name}, and without the error term only one reconstruction can replace it.`,
    'Omit --no-error-term, or one of the SAEs.',
    'generate/one-hook',
  );
}

/** Continues every prompt unchanged and with each row of changes, as one batch. */
async function steerTexts(plan: SteeringPlan, { progress, stop }: Terminal): Promise<SteeredTexts> {
  const { config, sampling, saes, model, prompts, longest, at, placement, doses } = plan;
  const { checkpoint } = model;
  const rows = [unchangedRow(doses[0]!, saes.length), ...doses.map((dose) => rowChanges(dose, saes.length, at))];
  const refusals = [
    modelNotFinite(checkpoint.name, placement),
    ...doses.map((dose) => tooStrong(dose, plan.candidates)),
  ];
  const stepper = await Stepper.open(checkpoint, { placement, longest, threads: config.threads, saes });
  try {
    sayMemory(progress, stepper, prompts.length * rows.length, longest);
    sayTf32(progress.say, config.device);
    progress.begin('generating', config.tokens, 'step');
    const texts = prompts.flatMap((tokens, i) =>
      // The same random choices in all rows of a prompt.
      rows.map((changes, row) => ({ tokens, changes, choose: tokenChooser(sampling, i), notFinite: refusals[row]! })),
    );
    let next: (NextTokens | null)[] = [];
    const shown = config.logits ? await tokenTexts(model.directory, checkpoint.config.vocabulary) : undefined;
    const continued = await continueTexts(stepper, texts, {
      ...{ most: config.tokens, ends: model.ends, stops: config.stop ?? [], bytes: model.bytes, stop },
      onFirst: (logits) => {
        if (shown) next = compareRows(logits, rows.length, texts.length, shown);
      },
      onStep: (steps) => progress.update(steps),
    });
    progress.end();
    return {
      prompts: prompts.map((_, i) => {
        const [unsteered, ...steered] = continued.slice(i * rows.length, (i + 1) * rows.length);
        const own = next.slice(i * rows.length + 1, (i + 1) * rows.length);
        return { unsteered: unsteered!, steered: steered.map((text, k) => ({ text, next: own[k] ?? null })) };
      }),
    };
  } finally {
    await stepper.release();
  }
}

/** The next-token predictions after each text, compared with the first text of its prompt. */
function compareRows(logits: Float32Array, rows: number, texts: number, shown: readonly string[]): NextTokens[] {
  const width = logits.length / texts;
  const of = (i: number) => logits.subarray(i * width, (i + 1) * width);
  return Array.from({ length: texts }, (_, i) => nextTokens(of(i - (i % rows)), of(i), shown));
}
