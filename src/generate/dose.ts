import type { SteerConfig } from '../config/stages.js';
import { batches, type Context, leftOutTokens } from '../corpus/contexts.js';
import { corpusSettings } from '../corpus/documents.js';
import { Text } from '../corpus/text.js';
import { Refusal } from '../errors/refusal.js';
import { type Candidate, excludedTokens, sharedContext } from '../eval/candidates.js';
import { countPositions } from '../eval/splice-pass.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import { chooseContext } from '../lm/pass.js';
import type { Placement } from '../lm/placement.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { heard, throwIfStopped, untilStopped } from '../progress/stop.js';
import { type Change, type RowChanges, rowChanges, unchangedRow } from './changes.js';
import { SteeredLoss } from './steered-loss.js';
import type { SteeredSae } from './steering-graph.js';

/** Mean losses of next tokens, in nats. */
export interface DoseLosses {
  /** Positions that they are means over. */
  readonly tokens: number;
  readonly unsteered: number;
  /** Of each row of changes. */
  readonly steered: readonly number[];
}

/** What of a plan decides losses. */
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

/** Contexts that go through the model at one time. */
const CONTEXTS = 4;

const STOPPED = 'The losses were not all measured.';

/**
 * The mean loss on the first positions of --corpus, without changes and with each row of them.
 *
 * @throws Refusal where the text is too short, or a loss is not finite
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
    const means: number[] = [];
    for (const [row, changes] of rows.entries()) {
      let [sum, tokens] = [0, 0];
      for (let i = 0; i < contexts.length; i += CONTEXTS) {
        const losses = await opened.losses(contexts.slice(i, i + CONTEXTS), config.textTokens - tokens, changes);
        for (const loss of losses) sum += loss;
        tokens += losses.length;
        progress.update(row * config.textTokens + tokens);
        if (await heard(stop)) throwIfStopped(stop, STOPPED);
      }
      if (!Number.isFinite(sum)) throw notFinite(row === 0 ? undefined : config.dose![row - 1]!);
      means.push(sum / tokens);
    }
    progress.end();
    return { tokens: config.textTokens, unsteered: means[0]!, steered: means.slice(1) };
  } finally {
    await opened.release();
  }
}

/** The first contexts of --corpus, as many as hold --text-tokens positions that count. */
async function contextsOf({ config, candidates, model }: LossPlan, progress: Progress, stop: StopRequest) {
  const { checkpoint, directory, tokenizer } = model;
  const { bosTokenId, vocabulary, special } = checkpoint.config;
  const corpus = config.corpus!;
  const context = chooseContext(config.context ?? sharedContext(candidates), checkpoint.config);
  const text = await Text.open({
    ...{ model: directory, context, ...corpusSettings({ ...config, corpus }) },
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
      `${corpus} has ${tokens} tokens in whole contexts (BOS not counted); --text-tokens asks for ${config.textTokens}.`,
      'Use fewer --text-tokens, a shorter --context, or more text.',
      'corpus/too-short',
    );
  } finally {
    await text.close(progress);
  }
}

/** @param strength undefined: nothing was changed */
function notFinite(strength: number | undefined): Refusal {
  if (strength === undefined) {
    return new Refusal('The loss of the model is not finite.', 'Its weights are damaged.', 'generate/not-finite');
  }
  return new Refusal(
    `At a strength of ${strength} the loss is not finite.`,
    'Use smaller strengths; activations of features are rarely above a few hundred.',
    'generate/not-finite',
  );
}
