import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { watchOpened } from './canary.js';
import { generatorOf, judge, type Outcome, readFiles, stackOf, writeCase } from './case.js';
import { mebibytes, resetPeak } from './memory.js';
import { type Canary, MOST_MEMORY, type Target } from './target.js';

/** What the parent asks of a child, as its first argument. */
export interface Order {
  readonly root: string;
  readonly target: string;
  readonly module: string;
  readonly seed: number;
  /** Cases from … up to but without `to`. */
  readonly from: number;
  readonly to: number;
  readonly canary: Canary;
  /** The result of the whole files. */
  readonly whole: string;
  /** File of the current case, and file with one outcome per line. */
  readonly progress: string;
  readonly outcomes: string;
}

const order = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as Order;
const exported = Object.values((await import(order.module)) as Record<string, Target | readonly Target[]>);
const target = exported.flat().find(({ name }) => name === order.target)!;
const intact = join(order.root, target.name, 'intact');
const directory = join(order.root, target.name, 'case');
const whole = readFiles(intact);

// A forgotten promise: its failure belongs to the current case.
let stray: unknown;
process.on('unhandledRejection', (reason) => {
  stray ??= reason;
});

/** Memory that is garbage already must not hide that of a later case. */
const GARBAGE = 128;
let atRest = mebibytes('VmRSS');

/** A thread of the collector frees buffers some time after they are found to be garbage. */
async function collectGarbage(): Promise<void> {
  for (let look = 0; look < 20 && mebibytes('VmRSS') > atRest + GARBAGE; look++) {
    (globalThis as { gc?: () => void }).gc?.();
    await sleep(10 * look);
  }
  // What stays after that is not garbage.
  atRest = Math.max(atRest, mebibytes('VmRSS') - GARBAGE);
}

const openedOutside = watchOpened(order.canary.directory);
for (let index = order.from; index < order.to; index++) {
  const random = generatorOf(order.seed, target, index);
  writeCase(intact, whole, directory, target, random, order.canary);
  // Written before: a case that ends the process is known by it.
  writeFileSync(order.progress, String(index));
  stray = undefined;
  await collectGarbage();
  resetPeak();
  const before = mebibytes('VmRSS');
  let { ending, says } = await judge(target, directory, random, order.whole);
  await new Promise((resolve) => setImmediate(resolve));
  const growth = mebibytes('VmHWM') - before;
  const opened = openedOutside();
  if (opened.length > 0 || says.includes(order.canary.secret)) [ending, says] = ['outside', opened.join() || says];
  else if (stray !== undefined) [ending, says] = ['fault', `a rejection that nobody heard: ${stackOf(stray)}`];
  else if (growth > (target.memory ?? MOST_MEMORY)) {
    [ending, says] = ['memory', `resident memory grew by ${growth.toFixed(0)} MiB`];
  }
  appendFileSync(order.outcomes, `${JSON.stringify({ index, ending, says } satisfies Outcome)}\n`);
}
process.exit(0);
