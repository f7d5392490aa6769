import type { SteerConfig } from '../config/stages/generation.js';
import { batches, type Context, leftOutTokens } from '../corpus/contexts.js';
import { documentChoice } from '../corpus/document-choice.js';
import { corpusSettings } from '../corpus/documents.js';
import { checkMixture, corpusName } from '../corpus/mixture.js';
import { checkReadOnce } from '../corpus/standard-input.js';
import { Text } from '../corpus/text.js';
import { Refusal } from '../errors/refusal.js';
import { type Candidate, excludedTokens, rolesThatCount, sharedContext } from '../eval/candidates.js';
import { bootstrapIntervals } from '../eval/metrics.js';
import { countPositions } from '../eval/splice-pass.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import { chooseContext } from '../lm/pass.js';
import type { Placement } from '../lm/placement.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { stopRequested, throwIfStopped, untilStopped } from '../progress/stop.js';
import type { Change } from '../sae/feature-changes.js';
import { type RowChanges, rowChanges, unchangedRow } from './changes.js';
import { SteeredLoss } from './steered-loss.js';
import type { SteeredSae } from './steering-graph.js';

/** Mean next-token losses, in nats. */
export interface DoseLosses {
  /** Number of positions in the means. */
  readonly tokens: number;
  readonly unsteered: number;
  /** For each row of changes. */
  readonly steered: readonly SteeredLossMean[];
}

export interface SteeredLossMean {
  readonly loss: number;
  /** Change from the loss without changes. */
  readonly change: number;
  /** 95 % bootstrap interval of the change over contexts; null for a single context. */
  readonly interval: readonly [low: number, high: number] | null;
}

/** The parts of a plan that determine losses. */
interface LossPlan {
  readonly config: SteerConfig;
  readonly candidates: readonly Candidate[];
  readonly saes: readonly SteeredSae[];
  readonly model: {
    readonly directory: string;
    readonly checkpoint: Checkpoint;
    readonly tokenizer: { readonly prependBos: boolean };
  };
  readonly at: RowChanges['at'];
  readonly placement: Placement;
  readonly doses: readonly (readonly Change[])[];
}

const STOPPED = 'Not all losses were measured.';

/**
 * The mean loss on the first positions of --corpus, without changes and for each row of changes.
 *
 * @throws Refusal if the text is too short, or a loss is not finite
 */
export async function lossesByStrength(plan: LossPlan, progress: Progress, stop: StopRequest): Promise<DoseLosses> {
  const { config, saes, model, at, placement, doses } = plan;
  const { contexts, leftOut } = await contextsOf(plan, progress, stop);
  const context = contexts[0]!.tokens.length;
  const opened = await SteeredLoss.open(model.checkpoint, context, saes, {
    placement,
    threads: config.threads,
    leftOut,
  });
  try {
    const rows = [unchangedRow(doses[0]!, saes.length), ...doses.map((dose) => rowChanges(dose, saes.length, at))];
    progress.begin('measuring losses', rows.length * config.textTokens, 'token');
    const tokens = contexts.map(() => 0);
    const sums: number[][] = [];
    for (const [row, changes] of rows.entries()) {
      let counted = 0;
      const own: number[] = [];
      for (const [i, one] of contexts.entries()) {
        const losses = await opened.losses([one], config.textTokens - counted, changes);
        own.push(losses.reduce((sum, loss) => sum + loss, 0));
        tokens[i] = losses.length;
        counted += losses.length;
        progress.update(row * config.textTokens + counted);
        if (await stopRequested(stop)) throwIfStopped(stop, STOPPED);
      }
      if (!own.every(Number.isFinite)) throw notFinite(row === 0 ? undefined : doses[row - 1]!);
      sums.push(own);
    }
    progress.end();
    return meansOf(tokens, sums);
  } finally {
    await opened.release();
  }
}

/** Means and intervals from the sums of each context: first without changes, then for each row. */
function meansOf(tokens: readonly number[], [clean, ...rows]: readonly (readonly number[])[]): DoseLosses {
  const total = (sums: readonly number[]) => sums.reduce((sum, one) => sum + one, 0);
  const all = total(tokens);
  const unsteered = total(clean!) / all;
  return {
    ...{ tokens: all, unsteered },
    steered: rows.map((row) => {
      const loss = total(row) / all;
      const sums = { tokens: [...tokens], more: row.map((sum, i) => sum - clean![i]!) };
      const { change } = bootstrapIntervals(sums, ({ more, tokens }) => ({ change: more / tokens }));
      return { loss, change: loss - unsteered, interval: tokens.length > 1 ? change : null };
    }),
  };
}

/** The first contexts of --corpus, enough for --text-tokens positions that count. */
async function contextsOf({ config, candidates, model }: LossPlan, progress: Progress, stop: StopRequest) {
  const { checkpoint, directory, tokenizer } = model;
  const { bosTokenId, vocabulary, special } = checkpoint.config;
  const about = { ...config, corpus: config.corpus! };
  checkMixture(about);
  checkReadOnce(about);
  const context = chooseContext(config.context ?? sharedContext(candidates), checkpoint.config);
  const text = await Text.open({
    ...{ model: directory, context, ...corpusSettings({ ...about, roles: rolesThatCount(candidates, config) }) },
    documents: documentChoice(about, false),
    expected: { bosTokenId, vocabulary, special, bos: tokenizer.prependBos ? 'always' : 'never' },
  });
  try {
    const excluded = excludedTokens(candidates, {}, text.facts);
    const leftOut = leftOutTokens(text.facts.prependBos ? text.facts.bosTokenId : null, excluded);
    const contexts: Context[] = [];
    let tokens = 0;
    for await (const batch of batches(untilStopped(text.contexts(), stop), 1)) {
      contexts.push(...batch);
      tokens += countPositions(batch[0]!, leftOut);
      if (tokens >= config.textTokens) return { contexts, leftOut };
    }
    throwIfStopped(stop, STOPPED);
    throw new Refusal(
      `${corpusName(about)} has ${tokens} tokens in complete contexts (BOS not counted); --text-tokens is ${config.textTokens}.`,
      'Use fewer --text-tokens, a shorter --context, or more text.',
      'corpus/too-short',
    );
  } finally {
    await text.close(progress);
  }
}

/** @param dose undefined: nothing was changed */
function notFinite(dose: readonly Change[] | undefined): Refusal {
  if (dose === undefined) {
    return new Refusal('The loss of the model is not finite.', 'Its weights are damaged.', 'generate/not-finite');
  }
  const strength = dose.reduce((most, one) => (Math.abs(one.strength) > Math.abs(most) ? one.strength : most), 0);
  return new Refusal(
    `At a strength of ${strength} the loss is not finite.`,
    'Use smaller strengths; activations of features are rarely above a few hundred.',
    'generate/not-finite',
  );
}
