import { secondsLeft } from '../progress/progress.js';
import type { MetricsRecord } from '../sae/training-curve.js';
import type { OwnerState } from './owners.js';

/** A run is stalled if it has been silent for this many times the interval of its lines, */
const TIMES = 5;
/** and for at least this many seconds: file systems of clusters may show changes late. */
const LEAST_SILENCE = 60;
/** Patience before the first line, when the interval is unknown (seconds). */
const FIRST_LINE = 600;

/** The progress of a run. */
export interface RunStanding {
  /** `stalled`: it has an owner, but is silent; `stopped`: it has no owner, and is not finished. */
  readonly state: 'running' | 'stalled' | 'stopped' | 'finished';
  /** Steps done. */
  readonly step: number;
  /** Steps of the whole run, if known. */
  readonly steps: number | undefined;
  /** Activations per second over the last lines; undefined without lines. */
  readonly rate: number | undefined;
  /** Seconds; undefined if unknown. */
  readonly left: number | undefined;
  /** Seconds since metrics.jsonl was written. */
  readonly silence: number;
}

/**
 * @param recent the last lines of the curve, in order
 * @param settings `owner` is gone if nobody owns the run's directory
 * @param written when metrics.jsonl was last written, in milliseconds, as `now`
 */
export function standingOf(
  recent: readonly MetricsRecord[],
  { finished, steps, owner = 'unknown' }: { finished: boolean; steps?: number; owner?: OwnerState },
  written: number,
  now: number,
): RunStanding {
  const last = recent.at(-1);
  const step = last?.step ?? 0;
  const silence = Math.max(0, (now - written) / 1000);
  const stretches = stretchesOf(recent);
  const longest = Math.max(...stretches.map(({ seconds }) => seconds));
  const patience = last === undefined ? FIRST_LINE : Math.max(LEAST_SILENCE, TIMES * longest);
  const begun = owner === 'gone' ? 'stopped' : silence > patience ? 'stalled' : 'running';
  const state = finished ? 'finished' : begun;
  // The mean over all of them, not the mean of their rates.
  const total = (key: 'tokens' | 'seconds') => stretches.reduce((sum, stretch) => sum + stretch[key], 0);
  const rate = stretches.length > 0 ? total('tokens') / total('seconds') : undefined;
  const known = state === 'running' && last !== undefined && steps !== undefined && rate !== undefined;
  const left = known ? secondsLeft((steps - step) * (last.tokens / step), rate) : undefined;
  return { state, step, steps, rate, left, silence };
}

/** The stretches between lines; for a single line, the one before it. Lines without a speed are skipped. */
function stretchesOf(recent: readonly MetricsRecord[]): { tokens: number; seconds: number }[] {
  const from = recent.length === 1 ? [0] : recent.map(({ tokens }) => tokens);
  const lines = recent.length === 1 ? recent : recent.slice(1);
  return lines
    .map((line, i) => ({ tokens: line.tokens - from[i]!, rate: line.tokens_per_second }))
    .filter(({ rate }) => rate > 0)
    .map(({ tokens, rate }) => ({ tokens, seconds: tokens / rate }));
}
