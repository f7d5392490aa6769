import { basename } from 'node:path';
import type { SteerConfig } from '../config/stages/generation.js';
import { corpusName } from '../corpus/mixture.js';
import type { Candidate } from '../eval/candidates.js';
import { significant, textTable } from '../progress/progress.js';
import type { Change } from '../sae/feature-changes.js';
import type { ContinuedText } from './continuation.js';
import type { DoseLosses, SteeredLossMean } from './dose.js';
import { type NextTokens, nextTokenTable } from './next-token.js';
import type { SamplingSettings } from './sampling.js';

/** The result for every prompt. */
export interface SteeredTexts {
  readonly prompts: readonly {
    readonly unsteered: ContinuedText;
    /** One per row of changes; `next` is null if not requested. */
    readonly steered: readonly { readonly text: ContinuedText; readonly next: NextTokens | null }[];
  }[];
}

/** The parts of a plan that are shown. */
interface ShownPlan {
  readonly shown: readonly string[];
  readonly config: SteerConfig;
  readonly sampling: SamplingSettings;
  readonly candidates: readonly Candidate[];
  readonly changes: readonly Change[];
  readonly doses: readonly (readonly Change[])[];
  readonly model: { readonly checkpoint: { readonly name: string } };
}

type Found = SteeredTexts & { readonly losses?: DoseLosses };

/** A change in words: feature 17 = 8, feature 17 + 4, feature 17 × 2; with the SAE's name if there are several. */
export function changeInWords(
  { sae, feature, operation, strength }: Change,
  saes: readonly { path: string }[],
): string {
  const name = saes.length > 1 ? `${basename(saes[sae]!.path)}:${feature}` : String(feature);
  const sign = { set: '=', add: '+', scale: '×', ablate: '=' }[operation];
  return `feature ${name} ${sign} ${strength}`;
}

/** As text: every prompt's continuations, one below the other, and next tokens; or a table over strengths. */
export function steeredText(plan: ShownPlan, found: Found): string {
  const { config, shown, doses, candidates } = plan;
  const parts = found.prompts.flatMap(({ unsteered, steered }, i) => {
    const prompt = shown[i]!;
    if (config.dose) return [doseTable(plan, found, i)];
    const words = doses[0]!.map((change) => changeInWords(change, candidates)).join(', ');
    return [`Unsteered\n${prompt}${unsteered.text}`, `${sentenceCase(words)}\n${prompt}${steered[0]!.text.text}`];
  });
  const tables = found.prompts.flatMap(({ steered }) =>
    steered.flatMap(({ next }, row) => {
      if (!next) return [];
      const words = doses[row]!.map((change) => changeInWords(change, candidates)).join(', ');
      return [`${sentenceCase(words)}\n${nextTokenTable(next)}`];
    }),
  );
  const { losses } = found;
  const loss = losses && !config.dose ? [lossInWords(losses, losses.steered[0]!, corpusName(config))] : [];
  return [...parts, ...tables, ...loss].join('\n\n');
}

const intervalOf = ({ interval }: SteeredLossMean) =>
  interval === null ? '' : `[${interval.map((end) => significant(end, 3)).join(', ')}]`;

function lossInWords({ tokens, unsteered }: DoseLosses, steered: SteeredLossMean, corpus: string): string {
  const [before, after] = [unsteered, steered.loss].map((loss) => significant(loss, 5));
  const change = `${significant(steered.change, 3)} ${intervalOf(steered)}`.trim();
  return `Loss on ${tokens} tokens of ${corpus}: ${before} unsteered, ${after} steered, a change of ${change} (95 % over contexts)`;
}

const sentenceCase = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

/** One row per strength: the loss if measured, and the continuation. */
function doseTable({ config }: ShownPlan, { prompts, losses }: Found, i: number): string {
  const { unsteered, steered } = prompts[i]!;
  const row = (strength: string, text: ContinuedText, loss: SteeredLossMean | undefined) => [
    strength,
    ...(loss === undefined ? [] : [significant(loss.loss, 5), significant(loss.change, 3), intervalOf(loss)]),
    JSON.stringify(text.text),
  ];
  const head = ['strength', ...(losses ? ['loss', 'change', '95 %'] : []), 'continuation'];
  const clean = losses && { loss: losses.unsteered, change: 0, interval: null };
  const rows = [
    row('unsteered', unsteered, clean),
    ...steered.map(({ text }, k) => row(String(config.dose![k]), text, losses?.steered[k])),
  ];
  return `${config.prompt[i]}\n${textTable([head, ...rows]).join('\n')}`;
}

/** As JSON, complete. */
export function steeredJson(plan: ShownPlan, found: Found): object {
  const { config, sampling, candidates, changes, model } = plan;
  const { positions, from, errorTerm, dose } = config;
  return {
    model: model.checkpoint.name,
    saes: candidates.map(({ path, hook, input, files }) => ({
      ...{ path, architecture: files.architecture, hook: hook.name },
      ...(input === hook ? {} : { hook_in: input.name }),
    })),
    changes: changes.map(({ sae, ...change }) => ({ sae: candidates[sae]!.path, ...change })),
    ...{ error_term: errorTerm, positions, from, sampling },
    texts: found.prompts.map(({ unsteered, steered }, i) => ({
      ...{ prompt: config.prompt[i], unsteered },
      steered: steered.map(({ text, next }, k) => ({
        ...(dose && { strength: dose[k] }),
        ...text,
        ...(next && { next_tokens: next }),
      })),
    })),
    ...(found.losses && {
      losses: {
        tokens: found.losses.tokens,
        unsteered: found.losses.unsteered,
        steered: found.losses.steered.map((loss, k) => ({ ...(dose && { strength: dose[k] }), ...loss })),
      },
    }),
  };
}
