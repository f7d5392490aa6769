import { Refusal } from '../config/refusal.js';
import type { EvalConfig } from '../config/stages.js';
import type { TokenizerFacts } from '../corpus/text-protocol.js';
import type { Unchanged } from '../disk/unchanged.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import { findHook, type Hook } from '../lm/hooks.js';
import { checkFiniteWeights } from '../sae/finite-weights.js';
import { checkModelOf, openSameSae } from '../sae/identity.js';
import type { SaeFiles } from '../sae/saelens.js';

/** An SAE that is to be evaluated, and where it is spliced in. */
export interface Candidate {
  readonly path: string;
  readonly files: SaeFiles;
  /** Its files are read more than once. */
  readonly unchanged: Unchanged;
  readonly hook: Hook;
}

/**
 * Opens an SAE for evaluation in this model.
 *
 * @throws Refusal when it belongs to another model or hook, or a weight is NaN or infinite
 */
export async function openCandidate(path: string, config: EvalConfig, checkpoint: Checkpoint): Promise<Candidate> {
  const { files, unchanged } = await openSameSae(path);
  const { hook_name, prepend_bos } = files.metadata;
  const name = hook_name ?? config.hook;
  if (name === undefined) throw new Refusal(`${path}/cfg.json names no hook.`, 'Name it with --hook.');
  if (config.hook !== undefined && config.hook !== name) {
    throw new Refusal(`${path} was trained at ${name}, and --hook says ${config.hook}.`, 'Leave --hook out.');
  }
  if (prepend_bos === false) {
    throw new Refusal(
      `${path} was trained on contexts without BOS, which is not supported.`,
      'Use an SAE that was trained with prepend_bos.',
    );
  }
  if (!config.anyModel) {
    const now = { label: config.model, fingerprint: checkpoint.fingerprint };
    checkModelOf(path, files.metadata, now, 'Give its own model, or --any-model to measure how it transfers.');
  }
  const hook = findHook(name, checkpoint.config);
  if (files.dIn !== hook.width) {
    throw new Refusal(
      `${path} has d_in ${files.dIn}, and ${hook.name} of ${checkpoint.name} is ${hook.width} wide.`,
      'The SAE belongs to another model or hook.',
    );
  }
  await checkFiniteWeights(files);
  return { path, files, unchanged, hook };
}

/** The context length the SAEs were trained with, where they agree. */
export function sharedContext(candidates: readonly Candidate[]): number | undefined {
  const lengths = new Set(candidates.map(({ files }) => files.metadata.context_size));
  if (lengths.size > 1) {
    throw new Refusal(
      `The SAEs were trained with different context lengths (${[...lengths].join(', ')}).`,
      'Say which to evaluate with: --context.',
    );
  }
  return [...lengths][0];
}

/**
 * Tokens other than BOS whose positions do not count: those that the SAEs were not trained on, where the command does
 * not say.
 *
 * @throws Refusal where the SAEs disagree
 */
export function excludedTokens(
  candidates: readonly Candidate[],
  { excludeSpecialTokens: asked }: Pick<EvalConfig, 'excludeSpecialTokens'>,
  { bosTokenId, special }: TokenizerFacts,
): number[] {
  const rules = new Set(
    candidates.map(({ files }) => {
      const rule = asked ?? files.metadata.exclude_special_tokens ?? false;
      const tokens = rule === true ? [...special.keys()] : rule === false ? [] : rule;
      return JSON.stringify([...new Set(tokens)].filter((id) => id !== bosTokenId).sort((a, b) => a - b));
    }),
  );
  if (rules.size > 1) {
    throw new Refusal(
      'The SAEs were trained with different special tokens left out.',
      'Say how to evaluate them: --exclude-special-tokens, or --no-exclude-special-tokens.',
    );
  }
  return JSON.parse([...rules][0]!) as number[];
}
