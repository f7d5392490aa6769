/**
 * One training step on an NVIDIA GPU, side by side with PyTorch and SAELens on the same card, in one run:
 *
 *     npm run bench:gpu -- [--sizes 0,1,2] [--rounds 5] [--steps 10] [--document docs/how-to/gpu.md]
 *
 * PyTorch for CUDA is that of SAE_PIPE_BENCH_PYTHON, or of bench/.venv (bench/peers/setup.sh makes it). Writes its
 * table into the document. Exits 3 where the GPU or its libraries are missing.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { formatBytes } from '../src/disk/space.js';
import { cudaTraining } from '../src/doctor/machine.js';
import type { CudaVersions } from '../src/train/engines/cuda/gpu.js';
import { answer, type GpuContender, type GpuRun, type GpuTiming, gpuContenders } from './gpu-contenders.js';
import { atRates, type CardRates, type StepSize, stepWork } from './gpu-work.js';
import { markdownTable } from './markdown.js';
import { circumstances, spread, writeSection } from './section.js';

const SIZES: readonly StepSize[] = [
  { d: 3072, n: 131_072, B: 4096, l0: 64 },
  { d: 3072, n: 32_768, B: 4096, l0: 64 },
  { d: 2304, n: 16_384, B: 4096, l0: 64 },
];
type Found = Map<GpuContender, GpuTiming | string>;
type Rates = CardRates & { readonly card: string; readonly versions: CudaVersions };

const { values: options } = parseArgs({
  options: {
    sizes: { type: 'string', default: '0,1,2' },
    rounds: { type: 'string', default: '5' },
    steps: { type: 'string', default: '10' },
    document: { type: 'string', default: 'docs/how-to/gpu.md' },
  },
});
const repeats: GpuRun = {
  ...{ warmup: 3, steps: Number(options.steps), rounds: Number(options.rounds) },
  python: process.env.SAE_PIPE_BENCH_PYTHON ?? 'bench/.venv/bin/python',
};

const digits = (value: number) => value.toFixed(value < 100 ? 2 : 0);
const named = ({ d, n, B, l0 }: StepSize) => `d_in ${d}, d_sae ${n}, batch ${B}, L0 about ${l0}`;

async function measure(size: StepSize, start: string): Promise<Found> {
  const flags = { d: size.d, n: size.n, batch: size.B, l0: size.l0, out: start };
  const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
  execFileSync(repeats.python, ['bench/peers/make_start.py', ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
  const found: Found = new Map();
  for (const contender of gpuContenders()) {
    const timing = await answer<Omit<GpuTiming, 'peak'>>(contender, start, repeats);
    const said = typeof timing === 'string' ? timing : `${digits(spread(timing.ms).median)} ms`;
    console.error(`${named(size)}, ${contender.label}: ${said}`);
    found.set(contender, timing);
  }
  return found;
}

function table({ B }: StepSize, found: Found): string {
  const rows = [...found].map(([{ label, name }, timing]) => {
    if (typeof timing === 'string') return [label, `could not run: ${timing}`, '', '', '', '', ''];
    const { median, least, most } = spread(timing.ms);
    const tokens = name === 'product' ? '–' : String(Math.round((1000 * B) / median));
    const memory = timing.peak === null ? 'not known' : formatBytes(timing.peak);
    const [l0, loss] = [timing.l0?.toFixed(2) ?? '–', timing.loss?.toFixed(3) ?? '–'];
    return [label, digits(median), `${digits(least)} to ${digits(most)}`, tokens, memory, l0, loss];
  });
  const head = ['', 'ms per step, median of rounds', 'least to most', 'tokens/s', 'peak memory', 'L0', 'loss'];
  return markdownTable(head, rows);
}

/** Our steps next to the time that their counted work takes at the card's rates. */
function workTable(all: ReadonlyMap<StepSize, Found>, rates: Rates): string {
  const rows = [...all].flatMap(([size, found]) => {
    const work = stepWork(size);
    return [...found].flatMap(([{ program, name, precision }, timing]) => {
      if (program !== 'ours' || name !== 'step' || typeof timing === 'string') return [];
      const { product, streamed, gathered, sum } = atRates(work, rates, precision);
      const tera = (value: number) => (value / 1e12).toFixed(2);
      const [work1, work2, work3] = [tera(work.product), tera(work.streamed), tera(work.gathered)];
      const parts = [`${work1}: ${digits(product)}`, `${work2}: ${digits(streamed)}`, `${work3}: ${digits(gathered)}`];
      return [[`(${size.d}, ${size.n}), ${precision}`, ...parts, digits(sum), digits(spread(timing.ms).median)]];
    });
  });
  const head = ['(d_in, d_sae)', 'product, TFLOP: ms', 'streams, TB: ms', 'gathers, TB: ms', 'sum, ms', 'measured, ms'];
  return markdownTable(head, rows);
}

function ratesLine({ copy, products }: Rates): string {
  const kinds = Object.entries(products).map(([kind, rate]) => `${kind} ${(rate / 1e12).toFixed(0)} TFLOP/s`);
  return `Measured on this card: copies ${(copy / 1e12).toFixed(2)} TB/s (read and written); square products of 8192: ${kinds.join(', ')}.`;
}

async function main(): Promise<number> {
  const trial = await cudaTraining('cuda');
  if (!trial.gpu) {
    const missing = trial.missing.length > 0 ? `not found: ${trial.missing.join(', ')}` : trial.reason;
    console.error(
      `No training step can be timed on a GPU here: ${missing?.replace(/\.$/, '')}; docs/how-to/gpu.md says what is needed.`,
    );
    return 3;
  }
  const sizes = options.sizes.split(',').map((index) => SIZES[Number(index)]);
  if (sizes.includes(undefined)) {
    console.error(`--sizes are numbers from 0 to ${SIZES.length - 1}.`);
    return 2;
  }
  const rates = await answer<Rates>({ program: 'ours', name: 'rates', precision: 'tf32' }, '', repeats);
  if (typeof rates === 'string') throw new Error(`the card's rates could not be measured: ${rates}`);
  const directory = mkdtempSync(join(tmpdir(), 'bench-gpu-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  const all = new Map<StepSize, Found>();
  for (const size of sizes as StepSize[]) all.set(size, await measure(size, join(directory, 'start.safetensors')));

  const timings = [...all.values()].flatMap((found) => [...found.values()]);
  const peers = new Set(timings.flatMap((timing) => (typeof timing === 'string' ? [] : [timing.version])));
  peers.delete('ours');
  const { driver, compiler, capability } = rates.versions;
  const text = [
    `${rates.card} (compute capability ${capability}), driver for CUDA ${driver}, NVRTC ${compiler}; ${circumstances()}; ${[...peers].join('; ')}. ${repeats.rounds} rounds of ${repeats.steps} steps. \`npm run bench:gpu\`.`,
    ...[...all].map(([size, found]) => `### ${named(size)}\n\n${table(size, found)}`),
    `### Counted work\n\n${ratesLine(rates)} \`bench/gpu-work.ts\` says what is counted.\n\n${workTable(all, rates)}`,
  ];
  writeSection('gpu', 'Measured', text.join('\n\n'), options.document);
  return 0;
}

process.exitCode = await main();
