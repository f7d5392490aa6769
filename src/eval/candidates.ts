import type { EvalConfig } from '../config/stages/eval.js';
import type { TokenizerFacts } from '../corpus/text.js';
import type { Unchanged } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import type { BosPolicy, ModelConfig } from '../lm/family.js';
import { findHook, type Hook } from '../lm/hooks.js';
import { chooseBos } from '../lm/pass.js';
import type { Progress } from '../progress/progress.js';
import { checkFiniteWeights, checkModelOf, openSameSae, type SaeFiles } from '../sae/saelens.js';
import type { NormRule } from './long-positions.js';

// SAEs that a command uses in a model: whether each fits it, and what text they were trained on together.

/** An SAE that belongs to a hook of this model. */
export interface Candidate {
  readonly path: string;
  readonly files: SaeFiles;
  /** Its files are read more than once. */
  readonly unchanged: Unchanged;
  readonly hook: Hook;
  /** What it reads: `hook`, or of a transcoder another. */
  readonly input: Hook;
}

/** What of a command decides which SAEs fit. */
type Asked = Pick<EvalConfig, 'hook' | 'model' | 'anyModel'>;

/**
 * Opens an SAE for use in this model.
 *
 * @param path the SAE as the command names it
 * @param directory where it lies, if elsewhere (saeDirectory)
 * @throws Refusal when it belongs to another model or hook, or a weight is NaN or infinite
 */
export async function openCandidate(
  path: string,
  config: Asked,
  checkpoint: Checkpoint,
  directory = path,
): Promise<Candidate> {
  const { files, unchanged } = await openSameSae(directory, 'transcoder');
  const { hook_name } = files.metadata;
  const name = hook_name ?? config.hook;
  if (name === undefined) throw new Refusal(`${path}/cfg.json names no hook.`, 'Name it with --hook.', 'eval/no-hook');
  if (config.hook !== undefined && config.hook !== name) {
    throw new Refusal(
      `${path} was trained at ${name}, and --hook says ${config.hook}.`,
      'Leave --hook out.',
      'eval/other-hook',
    );
  }
  if (!config.anyModel) {
    const now = { label: config.model, fingerprint: checkpoint.fingerprint };
    checkModelOf(path, files.metadata, now, 'Give its own model, or --any-model to measure how it transfers.');
  }
  const input = findHook(name, checkpoint.config);
  const hook = files.transcoder ? targetHook(path, files, input, checkpoint) : input;
  for (const [what, width, at] of [
    ['d_in', files.dIn, input],
    ['d_out', files.dOut, hook],
  ] as const) {
    if (width === at.width) continue;
    throw new Refusal(
      `${path} has ${what} ${width}, and ${at.name} of ${checkpoint.name} is ${at.width} wide.`,
      'The SAE belongs to another model or hook.',
      'eval/wrong-width',
    );
  }
  await checkFiniteWeights(files);
  return { path, files, unchanged, hook, input };
}

/**
 * The hook whose activation a transcoder's output replaces.
 *
 * @throws Refusal where cfg.json names none, or the model computes it before the input
 */
function targetHook(path: string, { metadata }: SaeFiles, input: Hook, { config }: Checkpoint): Hook {
  const name = metadata.hook_name_out;
  if (name === undefined) {
    throw new Refusal(
      `${path}/cfg.json says that it is a transcoder, and names no hook of its output.`,
      'Name it there: hook_name_out in metadata.',
      'eval/no-hook',
    );
  }
  const hook = findHook(name, config);
  const place = (wanted: Hook) => config.hooks.findIndex((one) => one.name === wanted.name);
  if (place(input) < place(hook)) return hook;
  throw new Refusal(
    `${path} reads ${input.name}, which the model computes after ${name}, where its output belongs.`,
    'Use a transcoder whose input comes first.',
    'eval/target-before-input',
  );
}

/** The context length the SAEs were trained with, where they agree. */
export function sharedContext(candidates: readonly Candidate[]): number | undefined {
  const lengths = new Set(candidates.map(({ files }) => files.metadata.context_size));
  if (lengths.size > 1) {
    throw new Refusal(
      `The SAEs were trained with different context lengths (${[...lengths].join(', ')}).`,
      'Say which to use: --context.',
      'eval/several-contexts',
    );
  }
  return [...lengths][0];
}

/**
 * Whether contexts begin with BOS in what the SAEs were trained on: as their cfg.json says, or else as the model's family
 * has it.
 *
 * @throws Refusal where they disagree
 */
export function sharedBos(candidates: readonly Candidate[], config: ModelConfig): BosPolicy {
  const rules = new Set(candidates.map(({ files }) => chooseBos(files.metadata.prepend_bos, config)));
  if (rules.size > 1) {
    throw new Refusal(
      'Some of the SAEs were trained on contexts that begin with BOS, and some on contexts without it.',
      'Say how to read the text: --prepend-bos, or --no-prepend-bos.',
      'eval/several-bos',
    );
  }
  return [...rules][0]!;
}

/**
 * Tokens other than a prepended BOS whose positions do not count: those that the SAEs were not trained on, where the command does
 * not say.
 *
 * @throws Refusal where the SAEs disagree
 */
export function excludedTokens(
  candidates: readonly Candidate[],
  { excludeSpecialTokens, allTokens }: Partial<Pick<EvalConfig, 'excludeSpecialTokens' | 'allTokens'>>,
  { bosTokenId, prependBos, special }: TokenizerFacts,
): number[] {
  const asked = excludeSpecialTokens ?? (allTokens ? false : undefined);
  const rules = new Set(
    candidates.map(({ files }) => {
      const rule = asked ?? files.metadata.exclude_special_tokens ?? false;
      const tokens = rule === true ? [...special.keys()] : rule === false ? [] : rule;
      return JSON.stringify(
        [...new Set(tokens)].filter((id) => !prependBos || id !== bosTokenId).sort((a, b) => a - b),
      );
    }),
  );
  if (rules.size > 1) {
    throw new Refusal(
      'The SAEs were trained with different special tokens left out.',
      'Say how to read the text: --exclude-special-tokens, or --no-exclude-special-tokens.',
      'eval/several-exclusions',
    );
  }
  return JSON.parse([...rules][0]!) as number[];
}

/**
 * The roles of conversations whose positions count: those that the SAEs were trained on, where the command does not say.
 * Text that is not of conversations has no roles.
 *
 * @throws Refusal where the SAEs disagree
 */
export function rolesThatCount(
  candidates: readonly Candidate[],
  { chatField, roles: asked, allTokens }: Partial<Pick<EvalConfig, 'chatField' | 'roles' | 'allTokens'>>,
): string[] | undefined {
  if (chatField === undefined || asked !== undefined) return asked;
  if (allTokens) return undefined;
  const rules = new Set(
    candidates.map(({ files }) => JSON.stringify(files.metadata.chat_roles?.toSorted() ?? ['all'])),
  );
  if (rules.size > 1) {
    throw new Refusal(
      'The SAEs were trained on tokens of different roles.',
      'Say whose positions count: --roles assistant, or --roles all.',
      'eval/several-roles',
    );
  }
  return JSON.parse([...rules][0]!) as string[];
}

/** Says where a command reads the text otherwise than an SAE was trained on. */
export function remarkOtherReading(
  { context, prependBos, chatField }: Pick<EvalConfig, 'context' | 'prependBos' | 'chatField'>,
  candidates: readonly Candidate[],
  progress: Pick<Progress, 'say'>,
): void {
  for (const { path, files } of candidates) {
    const { context_size, prepend_bos, chat_roles: roles } = files.metadata;
    if (roles && chatField === undefined) {
      progress.say(
        `${path} was trained on tokens of ${roles.join(' and ')}; here every token counts, of whatever role.`,
      );
    }
    if (context !== undefined && context_size !== undefined && context !== context_size) {
      progress.say(
        `${path} was trained on contexts of ${context_size} tokens; --context ${context} reads it otherwise.`,
      );
    }
    if (prependBos !== undefined && prepend_bos !== undefined && prependBos !== prepend_bos) {
      progress.say(
        `${path} was trained ${prepend_bos ? 'with' : 'without'} BOS; --${prependBos ? '' : 'no-'}prepend-bos reads it otherwise.`,
      );
    }
  }
}

/**
 * Which positions of a hook's SAEs keep their activation for its norm: those that SAEs were not trained on. Each rule has
 * the median of its own sample; the least of them counts. Training decides by its sample whether there is a rule, so
 * that it holds for those that have none, too.
 *
 * @param group SAEs that are spliced in at one hook
 * @returns undefined where none has one, and with --all-tokens
 * @throws Refusal where rules differ
 */
export function normRuleOf(
  group: readonly Candidate[],
  { allTokens }: Partial<Pick<EvalConfig, 'allTokens'>>,
): NormRule | undefined {
  const rules = allTokens ? [] : group.flatMap((candidate) => ownRule(candidate) ?? []);
  if (rules.length === 0) return undefined;
  const shortest = rules.reduce((a, b) => (a.median <= b.median ? a : b));
  const sameInput = group.every(({ input }) => input.name === shortest.hook.name);
  if (!sameInput || !rules.every((rule) => alike(rule, shortest))) {
    throw new Refusal(
      `The SAEs at ${group[0]!.hook.name} were trained with different activations left out for their norm.`,
      'Evaluate those with one rule together (the same --max-activation-norm-multiple and activations), or all with --all-tokens.',
      'eval/several-norm-limits',
    );
  }
  return shortest;
}

/** Says which SAEs are measured by a rule that only others of their hook have. */
export function remarkSharedRules(
  candidates: readonly Candidate[],
  config: Partial<Pick<EvalConfig, 'allTokens'>>,
  progress: Pick<Progress, 'say'>,
): void {
  for (const name of new Set(candidates.map(({ hook }) => hook.name))) {
    const group = atHook(candidates, name);
    const rule = normRuleOf(group, config);
    const without = group.filter((candidate) => !ownRule(candidate)).map(({ path }) => path);
    if (!rule || without.length === 0) continue;
    progress.say(
      `${without.join(', ')}: trained on activations of any norm, and measured at ${name} like the other SAEs, without those above ${rule.multiple} × ${rule.median.toPrecision(4)} (--all-tokens measures them, too).`,
    );
  }
}

/** Those that are spliced in at a hook. */
export function atHook(candidates: readonly Candidate[], name: string): Candidate[] {
  return candidates.filter(({ hook }) => hook.name === name);
}

/** What an SAE was not trained on; undefined where that is nothing. */
function ownRule({ files, input }: Candidate): NormRule | undefined {
  const { max_activation_norm_multiple: multiple, median_activation_norm: median } = files.metadata;
  return multiple === undefined || median === undefined ? undefined : { hook: input, multiple, median };
}

/** Medians of samples of the same activations differ by less than this. */
const SAME_MEDIAN = 1.1;

/** Do they say the same, but for the sample whose median it is? */
function alike({ multiple, median }: NormRule, shortest: NormRule): boolean {
  return multiple === shortest.multiple && median < SAME_MEDIAN * shortest.median;
}
