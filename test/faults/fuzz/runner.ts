import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Outcome } from './case.js';
import type { Order } from './child.js';
import { mebibytes, processorTime } from './memory.js';
import { type Canary, MOST_TIME, type Target } from './target.js';

const CHILD = fileURLToPath(new URL('child.js', import.meta.url));
/** The heap of a child, and what it may have resident at any time before it is ended (MiB). */
const HEAP = 1024;
const MOST_RESIDENT = 4096;

/**
 * Runs cases `from` … `to` − 1 of a target in child processes, each continuing after the case that ended the one before.
 * A case is known to hang or to end the process by the number that the child writes before it.
 */
export async function runCases(
  target: Target,
  { root, seed, from, to, canary }: { root: string; seed: number; from: number; to: number; canary: Canary },
): Promise<Outcome[]> {
  const place = join(root, target.name);
  const intact = join(place, 'intact');
  if (!existsSync(intact)) {
    mkdirSync(intact, { recursive: true });
    await target.prepare(intact);
  }
  const { Generator } = await import('../../../src/random/generator.js');
  const whole = await target.read(intact, new Generator(0));
  const [progress, outcomes] = [join(place, 'progress'), join(place, 'outcomes')];
  const all: Outcome[] = [];
  for (let next = from; next < to; ) {
    for (const file of [progress, outcomes]) rmSync(file, { force: true });
    const order: Order = {
      root,
      target: target.name,
      module: target.module,
      seed,
      from: next,
      to,
      canary,
      whole,
      progress,
      outcomes,
    };
    writeFileSync(join(place, 'order.json'), JSON.stringify(order));
    const ended = await runChild(join(place, 'order.json'), progress, target.time ?? MOST_TIME);
    const lines = existsSync(outcomes) ? readFileSync(outcomes, 'utf8').trim().split('\n') : [];
    for (const line of lines) if (line !== '') all.push(JSON.parse(line) as Outcome);
    next = (all.at(-1)?.index ?? from - 1) + 1;
    if (next >= to) break;
    if (ended?.ending === 'crash' && !existsSync(progress)) throw new Error(`a child does not start: ${ended.says}`);
    if (ended === undefined) throw new Error(`the child of ${target.name} stopped at case ${next} and did not say why`);
    all.push({ ...ended, index: next });
    next++;
  }
  return all;
}

/** @returns why the child ended before it was done; undefined where it was */
async function runChild(
  order: string,
  progress: string,
  most: number,
): Promise<Pick<Outcome, 'ending' | 'says'> | undefined> {
  const child = spawn(process.execPath, [`--max-old-space-size=${HEAP}`, '--expose-gc', CHILD, order], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr = (stderr + data).slice(-4000);
  });
  let killed: Pick<Outcome, 'ending' | 'says'> | undefined;
  let [last, since, spent] = ['', performance.now(), 0];
  const watchdog = setInterval(() => {
    const now = existsSync(progress) ? readFileSync(progress, 'utf8') : '';
    const used = processorTime(child.pid!);
    if (now !== last) [last, since, spent] = [now, performance.now(), used];
    const resident = mebibytes('VmRSS', child.pid!);
    if (resident > MOST_RESIDENT) killed = { ending: 'memory', says: `${resident.toFixed(0)} MiB are resident` };
    // On a busy machine a child waits for its turn: what it has worked counts, or that it does nothing at all.
    else if (used - spent > most || performance.now() - since > 6 * most) {
      killed = { ending: 'hang', says: `more than ${most} ms` };
    }
    if (killed) child.kill('SIGKILL');
  }, 100);
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  clearInterval(watchdog);
  if (killed) return killed;
  return code === 0 ? undefined : { ending: 'crash', says: `exit ${code ?? signal}: ${stderr.slice(-1500)}` };
}
