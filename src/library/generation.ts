import { type Refusal, UsageRefusal } from '../errors/refusal.js';
import { type RowChanges, rowChanges, unchangedRow } from '../generate/changes.js';
import { type ContinuedText, continueTexts, type Ending } from '../generate/continuation.js';
import { modelNotFinite, STOPPED, samplingOf } from '../generate/generate.js';
import { promptTokens, roomFor } from '../generate/prompts.js';
import { tokenChooser } from '../generate/sampling.js';
import { tooStrong } from '../generate/too-strong.js';
import { throwIfStopped } from '../progress/stop.js';
import { type Change, checkChanges, type Operation } from '../sae/feature-changes.js';
import type { ModelSession } from './model-session.js';
import { type RunOptions, stopOf } from './run-options.js';
import type { SAE } from './sae.js';
import { checkOptionNames, checkText, checkWhole, configFromOptions } from './stage-options.js';

/** How a prompt is continued. */
export interface GenerateOptions extends Pick<RunOptions, 'signal'> {
  /** Max number of new tokens; 64 by default. */
  readonly maxNewTokens?: number;
  /** 0 (default): the most probable token; otherwise logits are divided by it and a token is sampled. */
  readonly temperature?: number;
  /** Sample from the k most probable tokens only. */
  readonly topK?: number;
  /** Sample from the smallest set of most probable tokens whose probabilities add up to p. */
  readonly topP?: number;
  /** Seed for sampling; the same seed gives the same text. 0 by default. */
  readonly seed?: number;
  /** Stop strings, not included in the output. */
  readonly stop?: readonly string[];
  /** Called with each piece of the continuation as it is generated. */
  readonly onText?: (piece: string) => void;
}

/** A continuation of a prompt. */
export interface GeneratedText {
  readonly text: string;
  /** Its tokens, without the prompt. */
  readonly tokens: readonly number[];
  /** `length`: maxNewTokens was reached; `end`: the model ended it; `stop`: a stop string occurred. */
  readonly ending: Ending;
}

/** A change of one feature's activation f. */
export type FeatureIntervention = { readonly sae: SAE; readonly feature: number } & (
  | { /** f′ = set */ readonly set: number }
  | { /** f′ = f + add, whether it fires or not */ readonly add: number }
  | { /** f′ = scale · f */ readonly scale: number }
  | { /** f′ = 0 */ readonly ablate: true }
);

/** How a prompt is continued with features changed. */
export interface SteerOptions extends Omit<GenerateOptions, 'onText'> {
  /** Keep the error term x − x̂ (default); false: x is replaced by the changed reconstruction. */
  readonly errorTerm?: boolean;
  /**
   * First token at which features are changed, counted from 0, BOS included; by default all tokens after a leading BOS.
   */
  readonly from?: number;
}

/** A prompt continued with and without the changes. */
export interface SteeredText {
  readonly unsteered: GeneratedText;
  readonly steered: GeneratedText;
}

const GENERATE_OPTIONS = {
  ...{ maxNewTokens: true, temperature: true, topK: true, topP: true, seed: true, stop: true },
  ...{ onText: true, signal: true },
} as const satisfies Record<keyof GenerateOptions, true>;

const STEER_OPTIONS = {
  ...{ maxNewTokens: true, temperature: true, topK: true, topP: true, seed: true, stop: true },
  ...{ signal: true, errorTerm: true, from: true },
} as const satisfies Record<keyof SteerOptions, true>;

/** Continues a prompt. Calls must not overlap. */
export async function generateText(session: ModelSession, prompt: string, options: GenerateOptions) {
  checkText('The prompt', prompt);
  checkOptionNames(options, GENERATE_OPTIONS);
  const { model, settings } = session;
  const tokens = promptTokens(model, prompt);
  const [text] = await continuations(session, { tokens, saes: [], errorTerm: true }, options, [
    { notFinite: modelNotFinite(model.checkpoint.name, settings.placement) },
  ]);
  return text!;
}

/** Continues a prompt with and without the changes, with the same random numbers. Calls must not overlap. */
export async function steerText(
  session: ModelSession,
  prompt: string,
  changes: readonly FeatureIntervention[],
  given: SteerOptions,
): Promise<SteeredText> {
  checkText('The prompt', prompt);
  checkOptionNames(given, STEER_OPTIONS);
  const { errorTerm = true, from, ...options } = given;
  if (from !== undefined) checkWhole('from', from, 0);
  const saes = [...new Set(changes.map(({ sae }) => sae))];
  const fitted = await Promise.all(saes.map((sae) => session.fit(sae)));
  const prependBos = session.bosFor(fitted);
  const tokens = promptTokens(session.withBos(prependBos), prompt);
  const numbered = changes.map((change) => numberedChange(change, saes));
  checkChanges(
    numbered,
    saes.map(({ name, cfg }) => ({ path: name, dSae: cfg.dSae })),
  );
  const first = from ?? (prependBos ? 1 : 0);
  const notFinite = modelNotFinite(session.model.checkpoint.name, session.settings.placement);
  const [unsteered, steered] = await continuations(session, { tokens, saes, errorTerm }, options, [
    { notFinite, changes: unchangedRow(numbered, saes.length) },
    {
      notFinite: tooStrong(numbered, fitted),
      changes: rowChanges(numbered, saes.length, (position) => position >= first),
    },
  ]);
  return { unsteered: unsteered!, steered: steered! };
}

/** @throws UsageRefusal if a change has no operation, or several */
function numberedChange({ sae, feature, ...change }: FeatureIntervention, saes: readonly SAE[]): Change {
  const said = Object.entries(change).filter(([, value]) => value !== undefined && value !== false);
  const [[operation, strength] = ['', 0], ...others] = said;
  if (!['set', 'add', 'scale', 'ablate'].includes(operation) || others.length > 0) {
    throw new UsageRefusal(
      `The change of feature ${feature} has ${said.length === 0 ? 'no operation' : said.map(([key]) => key).join(' and ')}.`,
      'Give one of set, add, scale and ablate.',
      'library/wrong-change',
    );
  }
  const v = operation === 'ablate' ? 0 : Number(strength);
  return { sae: saes.indexOf(sae), feature, operation: operation as Operation, strength: v };
}

/** A row of a batch of continuations: a prompt, with the row's own changes. */
interface ContinuedRow {
  readonly notFinite: Refusal;
  readonly changes?: RowChanges;
}

/** Options corresponding to flags of `generate`, with their defaults. @throws UsageRefusal naming an invalid one */
function checkedOptions({ maxNewTokens, temperature, topK, topP, seed, stop }: GenerateOptions) {
  const flags = { model: '-', prompt: '-', tokens: maxNewTokens, temperature, topK, topP, seed, stop };
  return configFromOptions('generate', flags, { tokens: 'maxNewTokens' });
}

async function continuations(
  session: ModelSession,
  { tokens, saes, errorTerm }: { tokens: readonly number[]; saes: readonly SAE[]; errorTerm: boolean },
  options: GenerateOptions,
  rows: readonly ContinuedRow[],
): Promise<GeneratedText[]> {
  const { tokens: most, stop: stops = [], ...chosen } = checkedOptions(options);
  const { onText } = options;
  const { checkpoint, ends, bytes } = session.model;
  const sampling = samplingOf(chosen);
  const longest = roomFor([tokens], most, checkpoint);
  const stop = stopOf(options);
  throwIfStopped(stop, STOPPED);
  const stepper = await session.stepperFor(longest, saes, errorTerm);
  const texts = rows.map((row) => ({ ...row, tokens, choose: tokenChooser(sampling, 0) }));
  const heard = onText && ((_: number, piece: string) => onText(piece));
  const settings = { most, ends, stops, bytes, stop, onText: heard };
  const continued = await continueTexts(stepper, texts, settings);
  throwIfStopped(stop, STOPPED);
  return continued.map(({ text, ids, ending }: ContinuedText) => ({ text, tokens: ids, ending }));
}
