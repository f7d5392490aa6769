import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from './python.js';

/** The bundled model and text, and the site at which programs are compared as wholes. */
export const TRIAL = {
  model: 'assets/tiny-gemma',
  corpus: 'assets/corpus/train.jsonl.gz',
  heldOut: 'assets/corpus/validation.jsonl.gz',
  hook: 'blocks.2.hook_resid_post',
  layer: 2,
  dIn: 192,
  dSae: 1536,
  context: 256,
} as const;

/** --flag value pairs of an object. */
export function flagsOf(values: Readonly<Record<string, string | number>>): string[] {
  return Object.entries(values).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
}

/** Runs a command of ours as a user does. */
export function saePipe(...args: readonly string[]): void {
  command(process.execPath, ['bin/sae-pipe.js', ...args]);
}

/** Wall seconds of a piece of work, start-up included. */
export function seconds(work: () => void): number {
  const began = performance.now();
  work();
  return (performance.now() - began) / 1000;
}

/** What an evaluation found of one SAE; intervals are of 95 %. */
export interface Verdict {
  readonly sae: string;
  readonly l0: number;
  readonly loss_recovered: number;
  readonly explained_variance: number;
  readonly intervals: Readonly<Record<string, readonly [number, number]>>;
}

/** Splices SAEs in by `sae-pipe eval`, ours and others' alike, and reads what it wrote. */
export function evaluated(saes: readonly string[], out: string, tokens: number): Verdict[] {
  const { model, corpus, context } = { ...TRIAL, corpus: TRIAL.heldOut };
  saePipe(
    'eval',
    ...saes.flatMap((sae) => ['--sae', sae]),
    ...flagsOf({ model, corpus, context, tokens, out }),
    '--any-model',
    '--overwrite',
  );
  return JSON.parse(readFileSync(join(out, 'eval.json'), 'utf8')) as Verdict[];
}

const percent = (share: number) => (100 * share).toFixed(2);

/** Loss recovered with its interval. */
export function recovered({ loss_recovered, intervals }: Verdict): string {
  const [low, high] = intervals.loss_recovered!;
  return `${percent(loss_recovered)} % (${percent(low)} to ${percent(high)})`;
}
