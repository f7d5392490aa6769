import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { trainable } from '../src/sae/registry.js';

/** What a contender prints: times of complete steps, in milliseconds. */
export interface Timing {
  readonly ms: readonly number[];
  readonly version: string;
  /** Mean number of features with f > 0 in the last step. */
  readonly l0: number | null;
  /** Milliseconds per step of each part of ours. */
  readonly profile?: Readonly<Record<string, number>>;
}

/** Those of which published trainers are timed; ours are those of them that are trained here. */
export const BENCH_ARCHITECTURES = ['gated', 'standard', 'topk', 'batchtopk', 'jumprelu', 'matryoshka'] as const;
export type BenchArchitecture = (typeof BENCH_ARCHITECTURES)[number];

/** One way to compute a training step, run in a separate process. */
export interface Contender {
  readonly name: string;
  /** What the table calls it. */
  readonly label: string;
  readonly threads: number;
  readonly program: 'ours' | 'peer';
  readonly architecture: BenchArchitecture;
  readonly env?: Readonly<Record<string, string>>;
}

/** PyTorch's allocator uses huge pages if glibc is told to; where that helps, PyTorch gets the benefit. */
const HUGE_PAGES = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' };

/** Of the gated SAE: the paper's maths in several programs, and what bounds them. */
function gatedContenders(threads: number): Contender[] {
  const architecture = 'gated';
  const ours = (name: string, label: string, own = threads): Contender => {
    return { name, label, threads: own, program: 'ours', architecture };
  };
  const peer = (name: string, label: string, env?: Record<string, string>): Contender => {
    return { name, label, threads, program: 'peer', architecture, ...(env ? { env } : {}) };
  };
  return [
    ours('sparse', `sparse engine, ${threads} workers`),
    ours('sparse', 'sparse engine, 1 worker', 1),
    ours('reference', 'reference engine (dense graph)'),
    peer('pytorch-eager', EAGER),
    peer('pytorch-eager', 'PyTorch, eager, huge pages', HUGE_PAGES),
    peer('pytorch-compile', 'PyTorch, torch.compile'),
    peer('dictionary_learning', 'dictionary_learning'),
    peer('saelens', 'SAELens'),
    ours('product', 'encoder product alone, ONNX Runtime'),
    peer('product', 'encoder product alone, PyTorch'),
  ];
}

/** The sparse engine and published trainers of an architecture; at equal L0 and on the same batches. */
function zooContenders(architecture: BenchArchitecture, threads: number): Contender[] {
  const of = (program: 'ours' | 'peer', name: string, label: string): Contender => {
    return { name, label, threads, program, architecture };
  };
  return [
    ...(trainable.some((name) => name === architecture)
      ? [of('ours', 'sparse', `sparse engine, ${threads} workers`)]
      : []),
    of('peer', 'saelens', 'SAELens'),
    of('peer', 'dictionary_learning', 'dictionary_learning'),
    ...(architecture === 'topk' ? [of('peer', 'sparsify', 'sparsify'), of('peer', 'pytorch-topk', EAGER)] : []),
  ];
}

/** What gated contenders are compared with. */
export const EAGER = 'PyTorch, eager';

export function contenders(architectures: readonly BenchArchitecture[], threads: number): Contender[] {
  return architectures.flatMap((name) => (name === 'gated' ? gatedContenders(threads) : zooContenders(name, threads)));
}

/** What a run of a contender is given. */
export interface Run {
  /** safetensors: parameters, and batches [k, B, d]. */
  readonly start: string;
  /** Features per token of those that keep the k largest. */
  readonly k: number;
  readonly warmup: number;
  readonly steps: number;
  readonly python: string;
}

/** Runs a contender once; a string says why it could not be run. */
export function time(contender: Contender, { start, k, warmup, steps, python }: Run): Timing | string {
  const flags = {
    contender: contender.name,
    start,
    warmup,
    steps,
    threads: contender.threads,
    lr: 1e-5,
    l1: 1,
    ...(contender.architecture === 'gated' ? {} : { architecture: contender.architecture, k }),
  };
  const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
  const [command, script] =
    contender.program === 'ours'
      ? [process.execPath, fileURLToPath(new URL('train-step.js', import.meta.url))]
      : [python, 'bench/peers/train_step.py'];
  const { stdout, stderr, status } = spawnSync(command, [script, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...contender.env },
    maxBuffer: 2 ** 26,
  });
  const line = stdout?.trim().split('\n').at(-1) ?? '';
  if (status !== 0 || !line.startsWith('{')) return (stderr ?? '').trim().split('\n').at(-1) || `status ${status}`;
  const answer = JSON.parse(line) as Timing & { error?: string };
  return answer.error ?? answer;
}
