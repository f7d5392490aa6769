import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Generator } from '../../src/random/generator.js';
import { run, sleep, start } from '../cli/run-program.js';

/** `SAE_PIPE_LONG=1 node --test dist/test/faults/kill-*.test.js` is the long form. */
export const LONG = process.env.SAE_PIPE_LONG === '1';
/** Kills of one output, at most; what is finished with fewer is followed by another. */
const MOST_OF_ONE = 8;

/** A command that is killed and run again. */
export interface Killed {
  /** The command that writes to `out`, and resumes from what is there. */
  readonly command: (out: string) => readonly string[];
  /** How far it is, from what is on disk or from the milliseconds since its start; `whole` at its end. */
  readonly progress: (out: string, milliseconds: number) => number;
  readonly whole: number;
  /** True after every kill. */
  readonly afterKill: (out: string) => Promise<void> | void;
  /** True when the command has ended. */
  readonly atEnd: (out: string) => Promise<void> | void;
  /** Milliseconds that an undisturbed run takes, at most: an early kill comes within the first second of them. */
  readonly life?: number;
}

/**
 * Kills the command `kills` times at moments that `random` spreads over its life: by its progress, some of them in the
 * midst of writing a file, some after a SIGTERM, as a scheduler does it, and some soon after its start. Then lets it
 * ended.
 *
 * @param root where outputs are made
 */
export async function killAgainAndAgain(
  { command, progress, whole, afterKill, atEnd, life = 1000 }: Killed,
  kills: number,
  root: string,
  random: Generator,
): Promise<void> {
  let killed = 0;
  for (let round = 0; killed < kills; round++) {
    assert.ok(round < kills + 5, `${killed} kills in ${round} rounds`);
    const out = join(root, `killed-${round}`);
    const moments = Array.from({ length: Math.min(MOST_OF_ONE, kills - killed) }, () => random.uniform() * whole);
    moments.sort((a, b) => a - b);
    for (const [i, moment] of moments.entries()) {
      const { child, outcome } = start(...command(out));
      const began = performance.now();
      const alive = () => child.exitCode === null && child.signalCode === null;
      const until = async (condition: () => boolean) => {
        while (alive() && !condition()) await sleep(2);
      };
      const reached = () => progress(out, performance.now() - began) >= moment;
      const way = (round + i) % 4;
      if (way === 3) await sleep(random.below(Math.min(life, 1000)));
      else await until(reached);
      if (way === 0) await until(() => halfWritten(out).length > 0);
      if (way === 2) child.kill('SIGTERM');
      if (way === 1 || way === 2) await sleep(random.below(25));
      child.kill('SIGKILL');
      const { code, signal, stderr } = await outcome;
      if (signal !== 'SIGKILL') {
        // It ended first, by itself or by the SIGTERM.
        assert.ok(code === 0 || (way === 2 && (code === 143 || signal === 'SIGTERM')), stderr);
        if (code === 0) break;
        continue;
      }
      killed++;
      if (existsSync(out)) await afterKill(out);
    }
    const last = await run(...command(out));
    assert.equal(last.code, 0, last.stderr);
    assert.deepEqual(leftOver(out), []);
    await atEnd(out);
  }
}

const below = (directory: string): string[] => {
  try {
    return readdirSync(directory, { recursive: true, encoding: 'utf8' });
  } catch {
    // Not there yet, or changing.
    return [];
  }
};
const halfWritten = (out: string) => below(out).filter((name) => name.endsWith('.tmp'));

/** Files that only an unfinished output has; next to a finished SAE, run.json and the last checkpoint stay. */
export function leftOver(out: string): string[] {
  const names = below(out);
  const finished = (name: string) => names.includes(join(dirname(name), 'cfg.json'));
  const last = (name: string) =>
    names.filter((other) => dirname(other) === dirname(name) && /checkpoint-/.test(other)).length === 1;
  return names.filter((name) => {
    if (/checkpoint-|run\.json$/.test(name)) return !finished(name) || (!name.endsWith('run.json') && !last(name));
    return /\.tmp$|sae-pipe\.lock|partial-|journal-/.test(name);
  });
}

/** Files below a directory whose names match. */
export const countBelow = (out: string, pattern: RegExp): number =>
  below(out).filter((name) => pattern.test(name)).length;

/** A curve without its one figure of the clock. */
export const timeless = (curve: string): string => curve.replace(/,"tokens_per_second":\d+/g, '');

/** Complete lines of a run's curve. */
export function linesOf(curve: string): number {
  try {
    return readFileSync(curve, 'utf8').split('\n').length - 1;
  } catch {
    return 0;
  }
}
