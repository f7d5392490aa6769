/**
 * Does the CUDA engine train on this GPU as it should? The part "train" of `npm run check:gpu`: its steps against the
 * reference engine's, a training run that is killed and resumed, and its kernels under compute-sanitizer.
 */
import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cudaTraining } from '../src/doctor/machine.js';
import { Generator } from '../src/random/generator.js';
import { trainable } from '../src/sae/registry.js';
import type { ArchitectureName } from '../src/sae/sae.js';
import { readAllFloats } from '../src/safetensors/floats.js';
import type { StepMetrics } from '../src/train/engines/engine.js';
import type { Comparison } from './check-gpu-agreement.js';
import type { ProblemSize } from './check-gpu-problem.js';
import { CUDA_FLAGS, type CudaPrecision } from './cuda-engine.js';

const run = promisify(execFile);
const PROGRAM = fileURLToPath(new URL('../../bin/sae-pipe.js', import.meta.url));
const OURS = fileURLToPath(new URL('check-gpu-train-ours.js', import.meta.url));

const STEPS = 50;
/** How far the two engines may differ after this many steps, as a share of the reference's norm or value. */
const BOUNDS: Partial<Record<CudaPrecision, number>> = { float32: 1e-4, tf32: 1e-3 };
/** Steps of the other architectures, in float32: the first two have no dead feature yet. */
const FEW_STEPS = 10;
/** The architectures that are compared in so few steps; each has kernels of another text. */
export const OTHERS: readonly ArchitectureName[] = trainable.filter((name) => name !== 'gated');
/** Kernels run about a hundred times slower under compute-sanitizer. */
const SANITIZED_STEPS = 3;
const KILLS = 3;

/** Why the CUDA engine's device cannot be used, in a sentence; null where it can. */
export async function unusableForTraining(device: string): Promise<string | null> {
  const { gpu, missing, reason } = await cudaTraining(device);
  if (gpu) return null;
  const obstacle = missing.length > 0 ? `not found: ${missing.join(', ')}` : (reason ?? 'no answer').replace(/\.$/, '');
  return `The CUDA engine cannot be used here: ${obstacle}; docs/how-to/gpu.md says what it needs.`;
}

/** Checks that may be left out. */
export interface Without {
  readonly sanitizer: boolean;
  readonly architectures: boolean;
}

/** @param directory where it may write */
export async function checkTraining(device: string, directory: string, without: Without): Promise<Comparison[]> {
  const training = [...CUDA_FLAGS, '--device', device];
  const found = [...(await agreement(device, directory)), await killed(training, directory)];
  if (!without.sanitizer) found.push(await sanitized(device, directory));
  if (without.architectures) return found;
  for (const architecture of OTHERS) found.push(await architectureAgrees(architecture, device, directory));
  return found;
}

export interface Steps {
  readonly parameters: ReadonlyMap<string, Float32Array>;
  readonly metrics: readonly StepMetrics[];
}

/** What bench/check-gpu-train-ours.ts is to do. */
interface StepsJob {
  readonly architecture: ArchitectureName;
  readonly engine: 'reference' | 'cuda';
  readonly precision: CudaPrecision;
  readonly device: string;
  readonly count: number;
  readonly size: ProblemSize;
}

async function steps(job: StepsJob, directory: string): Promise<Steps> {
  const { architecture, engine, precision, device, count, size } = job;
  const path = join(directory, `${architecture}-${engine}-${precision}.safetensors`);
  const { stdout } = await run(process.execPath, [
    ...[OURS, architecture, engine, precision, device, String(count), path, size],
  ]);
  const found = await readAllFloats(path);
  return {
    parameters: new Map([...found].map(([name, { values }]) => [name, values])),
    // On the emulated device, the runner of its tests prints, too.
    metrics: JSON.parse(stdout.split('\n').find((line) => line.startsWith('['))!) as StepMetrics[],
  };
}

async function agreement(device: string, directory: string): Promise<Comparison[]> {
  const job = { architecture: 'gated', device, count: STEPS, size: 'usual' } as const;
  const reference = await steps({ ...job, engine: 'reference', precision: 'float32' }, directory);
  const found: Comparison[] = [];
  for (const [precision, bound] of Object.entries(BOUNDS)) {
    const cuda = await steps({ ...job, engine: 'cuda', precision: precision as CudaPrecision }, directory);
    const what = `${STEPS} steps of the CUDA engine in ${precision} and of the reference engine`;
    found.push(compared(what, bound, worst(cuda, reference)));
  }
  return found;
}

function compared(what: string, bound: number, { name, difference }: ReturnType<typeof worst>): Comparison {
  const value = `${difference.toExponential(1)} (${name})`;
  return { what, value, bound: `at most ${bound}`, agrees: difference <= bound };
}

/** Ten steps of both engines, with dead features. If one of the engines fails, its error is what was found. */
export async function architectureAgrees(
  architecture: ArchitectureName,
  device: string,
  directory: string,
  size: ProblemSize = 'usual',
): Promise<Comparison> {
  const what = `${FEW_STEPS} ${architecture} steps of the CUDA engine in float32 and of the reference engine`;
  const bound = BOUNDS.float32!;
  const job = { architecture, device, count: FEW_STEPS, size, precision: 'float32' } as const;
  try {
    const reference = await steps({ ...job, engine: 'reference' }, directory);
    return compared(what, bound, worst(await steps({ ...job, engine: 'cuda' }, directory), reference));
  } catch (error) {
    const { message, stderr = '' } = error as { message: string; stderr?: string };
    const line = stderr.split('\n').find((text) => /error/i.test(text)) ?? message.split('\n')[0]!;
    return { what, value: line.trim(), bound: `at most ${bound}`, agrees: false };
  }
}

/** The largest difference of the two: of a parameter as a share of its norm, of a metric as a share of its value. */
export function worst(ours: Steps, reference: Steps): { name: string; difference: number } {
  let most = { name: 'nothing', difference: 0 };
  const look = (name: string, found: number) => {
    // NaN must not pass as a small difference.
    const difference = Number.isNaN(found) ? Number.POSITIVE_INFINITY : found;
    if (difference > most.difference) most = { name, difference };
  };
  for (const [name, values] of reference.parameters) look(name, normDifference(ours.parameters.get(name)!, values));
  reference.metrics.forEach((metrics, t) => {
    for (const name of ['mse', 'l1', 'aux', 'l0', 'variance'] as const) {
      const [mine, wanted] = [ours.metrics[t]![name], metrics[name]];
      // Without a penalty, or without dead features, both are 0.
      look(`${name} of step ${t + 1}`, mine === wanted ? 0 : Math.abs(mine / wanted - 1));
    }
  });
  return most;
}

function normDifference(a: Float32Array, b: Float32Array): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

/**
 * A run that is killed at random moments ends in the bytes of one that is not.
 *
 * @param training flags of `train` that say how
 */
export async function killed(training: readonly string[], directory: string, count = 3000): Promise<Comparison> {
  const store = join(directory, 'acts');
  const hook = 'blocks.2.hook_resid_post';
  const source = ['--model', 'assets/tiny-gemma', '--corpus', 'assets/corpus/train.jsonl.gz', '--hook', hook];
  await run(process.execPath, [PROGRAM, 'harvest', ...source, '--tokens', '65536', '--context', '128', '--out', store]);
  const flags = { activations: join(store, hook), 'd-sae': 1536, batch: 256, steps: count, lr: 1e-3, l1: 5 };
  const often = { 'checkpoint-every': 50, 'log-every': 1, 'dead-window': 20_000, 'resample-at': String(count / 3) };
  const words = Object.entries({ ...flags, ...often }).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
  const train = ['train', ...training, ...words];
  const [whole, out] = [join(directory, 'whole'), join(directory, 'killed')];
  await run(process.execPath, [PROGRAM, ...train, '--out', whole]);
  const random = new Generator(5);
  let kills = 0;
  for (let i = 0; i < KILLS; i++) {
    if (await killedAt(random.below(count - 50), [PROGRAM, ...train, '--out', out, '--resume'], out)) kills++;
  }
  await run(process.execPath, [PROGRAM, ...train, '--out', out, '--resume']);
  const weights = (path: string) => readFileSync(join(path, 'sae_weights.safetensors'));
  const same = weights(out).equals(weights(whole));
  return {
    what: `a training run killed ${kills} times and resumed, and one undisturbed`,
    value: same ? 'the same bytes' : 'other bytes',
    bound: 'the same bytes, after at least one kill',
    agrees: same && kills > 0,
  };
}

/** Kills the program once its curve has reached a step; false if it ended before. */
async function killedAt(step: number, args: readonly string[], out: string): Promise<boolean> {
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.on('close', (_, signal) => resolve(signal)));
  const timer = setInterval(() => {
    if (stepsIn(out) >= step) child.kill('SIGKILL');
  }, 5);
  const signal = await ended;
  clearInterval(timer);
  return signal === 'SIGKILL';
}

function stepsIn(out: string): number {
  try {
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').split('\n').slice(0, -1);
    return (JSON.parse(lines.at(-1)!) as { step: number }).step;
  } catch {
    return -1;
  }
}

/** The engine's kernels under NVIDIA's checker of memory, where it is installed. */
async function sanitized(device: string, directory: string): Promise<Comparison> {
  const what = `${SANITIZED_STEPS} steps under compute-sanitizer`;
  const path = join(directory, 'sanitized.safetensors');
  const job = [process.execPath, OURS, 'gated', 'cuda', 'tf32', device, String(SANITIZED_STEPS), path];
  try {
    await run('compute-sanitizer', ['--error-exitcode', '9', ...job], { maxBuffer: 2 ** 26 });
    return { what, value: 'no errors', bound: 'no errors', agrees: true };
  } catch (error) {
    const { code, stdout = '' } = error as { code?: number | string; stdout?: string };
    if (code === 'ENOENT') return { what, value: 'compute-sanitizer is not installed', bound: '', agrees: true };
    const first = stdout.split('\n').find((line) => /Invalid|Error|leak/i.test(line)) ?? `it ended with ${code}`;
    return { what, value: first.trim(), bound: 'no errors', agrees: false };
  }
}
