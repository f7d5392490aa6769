/** The steps of a session on a GPU machine, in their order, and those of its rehearsal on a CPU. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CUDA_FLAGS } from './cuda-engine.js';
import type { SessionStep } from './gpu-session-step.js';

const built = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const SAE_PIPE = built('../../bin/sae-pipe.js');

/** What is different between a session and its rehearsal. */
interface Scale {
  readonly device: string;
  /** Of the CUDA engine. */
  readonly engine: string;
  readonly size: '7b-layers' | 'small';
  readonly precision: 'bfloat16' | 'float32';
  readonly d: number;
  readonly n: number;
  readonly batch: number;
  readonly l0: number;
  readonly rows: number;
  readonly rounds: number;
  readonly startUpSteps: number;
  readonly context: number;
  readonly contexts: number;
  readonly dSaeOfEval: number;
  /** Seconds of `train`. */
  readonly training: number;
  readonly trainFlags: readonly string[];
}

const REAL: Scale = {
  ...{ device: 'cuda', engine: 'cuda', size: '7b-layers', precision: 'bfloat16' },
  ...{ d: 3072, n: 131_072, batch: 4096, l0: 64, rows: 131_072, rounds: 3, startUpSteps: 30 },
  ...{ context: 1024, contexts: 4, dSaeOfEval: 16_384, training: 60, trainFlags: [...CUDA_FLAGS, '--device', 'cuda'] },
};
const REHEARSED: Scale = {
  ...{ device: 'cpu', engine: 'shim', size: 'small', precision: 'float32' },
  ...{ d: 22, n: 210, batch: 70, l0: 6, rows: 2000, rounds: 1, startUpSteps: 2 },
  ...{ context: 16, contexts: 2, dSaeOfEval: 64, training: 1, trainFlags: [] },
};

export interface SessionPlace {
  readonly rehearsal: boolean;
  /** For files that may be deleted. */
  readonly directory: string;
  /** A Python with PyTorch. */
  readonly python: string;
  /** Is there a Python to compare with? */
  readonly peer: boolean;
}

export function sessionSteps(place: SessionPlace): SessionStep[] {
  const scale = place.rehearsal ? REHEARSED : REAL;
  return [...firstPart(place, scale), ...stepsAgainstPeers(place, scale), ...secondPart(place, scale)];
}

const node = (script: string, flags: Readonly<Record<string, string | number>>, ...more: string[]) => [
  ...[process.execPath, built(script)],
  ...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]),
  ...more,
];

/** Is everything there, and does it compute the right thing at a small size? */
function firstPart({ rehearsal, directory, peer }: SessionPlace, scale: Scale): SessionStep[] {
  const { device, engine, precision, context, contexts } = scale;
  const steps = [
    built('check-gpu-train-ours.js'),
    ...['gated', 'cuda', rehearsal ? 'float32' : 'tf32', engine, '3', join(directory, 'sanitized.safetensors')],
    ...(rehearsal ? ['small'] : []),
  ];
  const small = { part: 'lm', size: 'small', device, precision, context, batch: contexts, directory };
  return [
    {
      ...{ name: 'doctor', part: 1, needs: [], limit: 60 },
      command: [process.execPath, SAE_PIPE, 'doctor', '--device', device, '--out', directory],
    },
    {
      ...{ name: 'check-lm', part: 1, needs: ['provider'], limit: 90 },
      command: node('check-gpu.js', small, ...(peer ? [] : ['--without-peer'])),
    },
    {
      ...{ name: 'check-train', part: 1, needs: ['engine'], limit: 150 },
      command: rehearsal
        ? [process.execPath, ...steps]
        : node('check-gpu.js', { part: 'train', device, directory }, '--without-sanitizer', '--without-architectures'),
    },
    {
      ...{ name: 'architectures', part: 1, needs: ['engine'], limit: 120 },
      command: [
        ...[process.execPath, built('check-gpu-architectures.js'), engine, directory],
        ...(rehearsal ? ['small'] : []),
      ],
    },
    {
      ...{ name: 'sanitizer', part: 1, needs: ['engine', 'sanitizer'], limit: 90 },
      command: ['compute-sanitizer', '--error-exitcode', '9', process.execPath, ...steps],
    },
  ];
}

/** Training steps from one start, ours and PyTorch's; and those at the start of a run. */
function stepsAgainstPeers(place: SessionPlace, scale: Scale): SessionStep[] {
  const { d, n, batch, l0, rounds, engine } = scale;
  const start = join(place.directory, 'start.safetensors');
  const flags = { start, warmup: 3, steps: 5, rounds };
  const timed = (name: string, contender: string, precision: string, limit = 60): SessionStep => ({
    ...{ name, part: 1, needs: ['engine'], limit, after: 'start' },
    command: node('gpu-step.js', { contender, ...flags, precision, device: engine }),
  });
  const peer = (name: string, contender: string, precision: string): SessionStep => ({
    ...{ name, part: 1, needs: ['peer'], limit: 75, after: 'start' },
    command: [place.python, 'bench/peers/gpu_step.py', ...node('', { contender, precision, ...flags }).slice(2)],
  });
  const startUp = timed('start-up', 'start-up', place.rehearsal ? 'float32' : 'tf32', 90);
  return [
    {
      ...{ name: 'start', part: 1, needs: ['engine'], limit: 90 },
      command: node('gpu-start.js', { d, n, batch, l0, out: place.directory }),
    },
    timed('step-tf32', 'step', 'tf32'),
    peer('step-eager-tf32', 'pytorch-eager', 'tf32'),
    peer('step-compiled-tf32', 'pytorch-compile', 'tf32'),
    timed('step-bfloat16', 'step', 'bfloat16'),
    peer('step-compiled-bfloat16', 'pytorch-compile', 'bfloat16'),
    timed('step-float32', 'step', 'float32'),
    {
      ...startUp,
      command: startUp.command.map((word, i, all) => (all[i - 1] === '--steps' ? `${scale.startUpSteps}` : word)),
    },
  ];
}

/** Complete stages, at the paper's sizes. */
function secondPart({ directory, peer }: SessionPlace, scale: Scale): SessionStep[] {
  const { d, n, batch, l0, rows, size, device, precision, context, contexts } = scale;
  const layers = (hooks: number): SessionStep => ({
    ...{ name: `layers-${hooks}-hook${hooks === 1 ? '' : 's'}`, part: 2, needs: ['provider'], limit: 75 },
    command: node(
      'check-gpu.js',
      { part: 'lm', size, hooks, device, precision, context, batch: contexts, directory },
      ...(peer ? [] : ['--without-peer']),
    ),
  });
  const train = ['--activations', join(directory, 'store'), '--init', join(directory, 'sae'), '--d-sae', `${n}`];
  const course = ['--batch', `${batch}`, '--steps', '1000000', '--lr', '1e-6', '--l1', '1', '--normalize', 'none'];
  return [
    {
      ...{ name: 'store', part: 2, needs: ['engine'], limit: 90 },
      command: node('gpu-start.js', { d, n, batch, l0, rows, out: directory }),
    },
    {
      ...{ name: 'train', part: 2, needs: ['engine'], limit: scale.training + 90, after: 'store' },
      command: [
        ...[process.execPath, built('gpu-train-minute.js'), String(scale.training), join(directory, 'trained')],
        ...[...train, ...course, '--log-every', '5', '--overwrite', ...scale.trainFlags],
      ],
    },
    ...[layers(1), layers(3)],
    {
      ...{ name: 'eval', part: 2, needs: ['provider'], limit: 75 },
      command: node('gpu-eval.js', {
        ...{ size, device, precision, context, batch: contexts, directory, 'd-sae': scale.dSaeOfEval },
      }),
    },
  ];
}
