import { significant, textTable } from '../progress/progress.js';
import { largestIds } from './sampling.js';

/** A candidate next token, before and after a change. */
export interface NextToken {
  readonly id: number;
  readonly token: string;
  readonly logit: number;
  readonly steeredLogit: number;
  readonly probability: number;
  readonly steeredProbability: number;
}

/** The next-token predictions after a prompt, before and after a change. */
export interface NextTokens {
  /** The most probable tokens before or after, by descending probability after. */
  readonly likely: readonly NextToken[];
  /** The largest changes of log-probability among tokens that are likely before or after, descending. */
  readonly changed: readonly NextToken[];
}

/** Tokens per list. */
const SHOWN = 8;
/** Number of most probable tokens, before and after, to search for the largest changes. */
const CANDIDATES = 512;

/** log Σ exp of the logits. */
function logSum(logits: Float32Array): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const value of logits) most = Math.max(most, value);
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - most);
  return most + Math.log(sum);
}

/**
 * Compares the next-token predictions after a prompt.
 *
 * @param texts token texts by id
 */
export function nextTokens(clean: Float32Array, steered: Float32Array, texts: readonly string[]): NextTokens {
  const [before, after] = [logSum(clean), logSum(steered)];
  const of = (id: number): NextToken => ({
    ...{ id, token: texts[id]!, logit: clean[id]!, steeredLogit: steered[id]! },
    probability: Math.exp(clean[id]! - before),
    steeredProbability: Math.exp(steered[id]! - after),
  });
  const likeliest = (count: number) =>
    [...new Set([...largestIds(steered, count), ...largestIds(clean, count)])].map(of);
  const moved = ({ logit, steeredLogit }: NextToken) => Math.abs(steeredLogit - after - (logit - before));
  return {
    likely: likeliest(SHOWN).sort((a, b) => b.steeredProbability - a.steeredProbability || a.id - b.id),
    changed: likeliest(CANDIDATES)
      .sort((a, b) => moved(b) - moved(a) || a.id - b.id)
      .slice(0, SHOWN),
  };
}

/** Both lists as a table for people. */
export function nextTokenTable({ likely, changed }: NextTokens): string {
  const row = ({ token, logit, steeredLogit, probability, steeredProbability }: NextToken) => [
    JSON.stringify(token),
    ...[probability, steeredProbability].map((p) => p.toFixed(4)),
    ...[logit, steeredLogit, steeredLogit - logit].map((x) => significant(x, 4)),
  ];
  const head = ['next token', 'p before', 'p after', 'logit before', 'logit after', 'change'];
  const rows = textTable([head, ...likely.map(row), ...changed.map(row)], 1);
  const end = 1 + likely.length;
  return [...rows.slice(0, end), '', 'largest changes of log-probability', ...rows.slice(end)].join('\n');
}
