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

// The SAEs of a command: whether each fits the model, and the text settings they were trained with.

/** An SAE that fits a hook of this model. */
export interface Candidate {
  readonly path: string;
  readonly files: SaeFiles;
  /** Its files are read several times. */
  readonly unchanged: Unchanged;
  readonly hook: Hook;
  /** The hook it reads: `hook`, or for a transcoder another one. */
  readonly input: Hook;
}

/** The settings that decide which SAEs fit. */
type Asked = Pick<EvalConfig, 'hook' | 'model' | 'anyModel'>;

/**
 * Opens an SAE for use in this model.
 *
 * @param path the SAE as named in the command
 * @param directory where it is, if elsewhere (saeDirectory)
 * @throws Refusal if it belongs to another model or hook, or a weight is NaN or infinite
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
  if (name === undefined) throw new Refusal(`${path}/cfg.json names no hook.`, 'Give it with --hook.', 'eval/no-hook');
  if (config.hook !== undefined && config.hook !== name) {
    throw new Refusal(
      `${path} was trained at ${name}, but --hook is ${config.hook}.`,
      'Omit --hook.',
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
      `${path} has ${what} ${width}, but ${at.name} of ${checkpoint.name} has width ${at.width}.`,
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
 * @throws Refusal if cfg.json names none, or the model computes it before the input
 */
function targetHook(path: string, { metadata }: SaeFiles, input: Hook, { config }: Checkpoint): Hook {
  const name = metadata.hook_name_out;
  if (name === undefined) {
    throw new Refusal(
      `${path}/cfg.json is that of a transcoder, but names no output hook.`,
      'Add it there: hook_name_out in metadata.',
      'eval/no-hook',
    );
  }
  const hook = findHook(name, config);
  const place = (wanted: Hook) => config.hooks.findIndex((one) => one.name === wanted.name);
  if (place(input) < place(hook)) return hook;
  throw new Refusal(
    `${path} reads ${input.name}, which the model computes after its output hook ${name}.`,
    'Use a transcoder whose input comes first.',
    'eval/target-before-input',
  );
}

/** The context length the SAEs were trained with, if they agree. */
export function sharedContext(candidates: readonly Candidate[]): number | undefined {
  const lengths = new Set(candidates.map(({ files }) => files.metadata.context_size));
  if (lengths.size > 1) {
    throw new Refusal(
      `The SAEs were trained with different context lengths (${[...lengths].join(', ')}).`,
      'Choose one with --context.',
      'eval/several-contexts',
    );
  }
  return [...lengths][0];
}

/**
 * Whether the SAEs were trained on contexts beginning with BOS: from cfg.json, or the default of the model's family.
 *
 * @throws Refusal if they disagree
 */
export function sharedBos(candidates: readonly Candidate[], config: ModelConfig): BosPolicy {
  const rules = new Set(candidates.map(({ files }) => chooseBos(files.metadata.prepend_bos, config)));
  if (rules.size > 1) {
    throw new Refusal(
      'Some of the SAEs were trained on contexts that begin with BOS, others on contexts without it.',
      'Choose one: --prepend-bos or --no-prepend-bos.',
      'eval/several-bos',
    );
  }
  return [...rules][0]!;
}

/**
 * Tokens other than a prepended BOS whose positions do not count. Unless the command says otherwise, those the SAEs
 * were not trained on.
 *
 * @throws Refusal if the SAEs disagree
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
      'Choose one: --exclude-special-tokens or --no-exclude-special-tokens.',
      'eval/several-exclusions',
    );
  }
  return JSON.parse([...rules][0]!) as number[];
}

/**
 * The conversation roles whose positions count. Unless the command says otherwise, those the SAEs were trained on.
 * Plain text has no roles.
 *
 * @throws Refusal if the SAEs disagree
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
      'Choose the roles that count: --roles assistant, or --roles all.',
      'eval/several-roles',
    );
  }
  return JSON.parse([...rules][0]!) as string[];
}

/** Reports differences between how a command reads the text and what an SAE was trained on. */
export function remarkOtherReading(
  { context, prependBos, chatField }: Pick<EvalConfig, 'context' | 'prependBos' | 'chatField'>,
  candidates: readonly Candidate[],
  progress: Pick<Progress, 'say'>,
): void {
  for (const { path, files } of candidates) {
    const { context_size, prepend_bos, chat_roles: roles } = files.metadata;
    if (roles && chatField === undefined) {
      progress.say(`${path} was trained on tokens of ${roles.join(' and ')}; here tokens of every role count.`);
    }
    if (context !== undefined && context_size !== undefined && context !== context_size) {
      progress.say(
        `${path} was trained on contexts of ${context_size} tokens; this command uses --context ${context}.`,
      );
    }
    if (prependBos !== undefined && prepend_bos !== undefined && prependBos !== prepend_bos) {
      progress.say(
        `${path} was trained ${prepend_bos ? 'with' : 'without'} BOS; --${prependBos ? '' : 'no-'}prepend-bos differs.`,
      );
    }
  }
}

/**
 * Which positions at a hook keep their activation because of its norm: those the SAEs were not trained on. Each rule
 * has its own sample's median; the lowest is used. Training decides from its sample whether a rule applies at
 * all, so the rule also applies to SAEs of the group without one.
 *
 * @param group SAEs spliced in at one hook
 * @returns undefined if none has a rule, or with --all-tokens
 * @throws Refusal if the rules differ
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
      `The SAEs at ${group[0]!.hook.name} were trained with different activations left out because of their norm.`,
      'Evaluate those with one rule together (the same --max-activation-norm-multiple and activations), or all with --all-tokens.',
      'eval/several-norm-limits',
    );
  }
  return shortest;
}

/** Reports which SAEs are measured under a rule that only others at their hook have. */
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
      `${without.join(', ')}: trained on activations of any norm, but measured at ${name} like the other SAEs, without those above ${rule.multiple} × ${rule.median.toPrecision(4)} (--all-tokens includes them).`,
    );
  }
}

/** The candidates spliced in at a hook. */
export function atHook(candidates: readonly Candidate[], name: string): Candidate[] {
  return candidates.filter(({ hook }) => hook.name === name);
}

/** What an SAE was not trained on; undefined if nothing. */
function ownRule({ files, input }: Candidate): NormRule | undefined {
  const { max_activation_norm_multiple: multiple, median_activation_norm: median } = files.metadata;
  return multiple === undefined || median === undefined ? undefined : { hook: input, multiple, median };
}

/** Medians of different samples of the same activations differ by less than this. */
const SAME_MEDIAN = 1.1;

/** Are two rules the same, apart from the sample the median was taken from? */
function alike({ multiple, median }: NormRule, shortest: NormRule): boolean {
  return multiple === shortest.multiple && median < SAME_MEDIAN * shortest.median;
}
