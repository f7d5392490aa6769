import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** What a contender prints: times of whole steps, in milliseconds. */
export interface Timing {
  readonly ms: readonly number[];
  readonly version: string;
  /** Mean number of features with f > 0 in the last step. */
  readonly l0: number | null;
  /** Milliseconds a step of each part of ours. */
  readonly profile?: Readonly<Record<string, number>>;
}

/** One way to compute a training step, run in a process of its own. */
export interface Contender {
  readonly name: string;
  /** What the table calls it. */
  readonly label: string;
  readonly threads: number;
  readonly program: 'ours' | 'peer';
  /** Has it as many features a token as the gated SAE has on average, and no more? Then its maths are others. */
  readonly topk?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

/** PyTorch's allocator asks for huge pages when glibc is told to; where that helps, it is PyTorch's due. */
const HUGE_PAGES = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' };

export function contenders(threads: number): Contender[] {
  const ours = (name: string, label: string, own = threads): Contender => {
    return { name, label, threads: own, program: 'ours' };
  };
  const peer = (name: string, label: string, env?: Record<string, string>): Contender => {
    return { name, label, threads, program: 'peer', ...(env ? { env } : {}) };
  };
  return [
    ours('sparse', `sparse engine, ${threads} workers`),
    ours('sparse', 'sparse engine, 1 worker', 1),
    ours('reference', 'reference engine (dense graph)'),
    peer('pytorch-eager', 'PyTorch, eager'),
    peer('pytorch-eager', 'PyTorch, eager, huge pages', HUGE_PAGES),
    peer('pytorch-compile', 'PyTorch, torch.compile'),
    peer('dictionary_learning', 'dictionary_learning'),
    peer('saelens', 'SAELens'),
    { ...ours('topk', `TopK, sparse engine, ${threads} workers`), topk: true },
    { ...peer('pytorch-topk', 'TopK, PyTorch, eager'), topk: true },
    ours('product', 'encoder product alone, ONNX Runtime'),
    peer('product', 'encoder product alone, PyTorch'),
  ];
}

/** What a run of a contender is given. */
export interface Run {
  /** safetensors: parameters, and batches [k, B, d]. */
  readonly start: string;
  /** Features a token of TopK SAEs. */
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
    ...(contender.topk ? { k } : {}),
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
