// npm run bench:train: one training step, side by side with PyTorch, dictionary_learning, SAELens and sparsify on the same cores.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  BENCH_ARCHITECTURES,
  type BenchArchitecture,
  type Contender,
  contenders,
  EAGER,
  type Timing,
  time,
} from './contenders.js';
import { markdownTable } from './markdown.js';
import { circumstances, writeSection } from './section.js';
import { median, quantile } from './statistics.js';
import { trainFigure } from './train-figure.js';
import { scalingSection } from './train-scaling.js';

/** d, n, B, L0 of the table, with the steps of a round and the number of rounds: large steps take long and vary less. */
const SIZES = [
  { d: 192, n: 3072, B: 1024, l0: 24, warmup: 4, steps: 12, rounds: 4 },
  { d: 512, n: 8192, B: 1024, l0: 64, warmup: 2, steps: 8, rounds: 4 },
  { d: 2048, n: 16_384, B: 2048, l0: 64, warmup: 1, steps: 3, rounds: 2 },
  { d: 3072, n: 32_768, B: 2048, l0: 64, warmup: 1, steps: 2, rounds: 1 },
];
type Size = (typeof SIZES)[number];

const DOCUMENT = 'docs/explanation/benchmarks.md';

const { values: options } = parseArgs({
  options: {
    sizes: { type: 'string', default: '0,1,2,3' },
    threads: { type: 'string', default: String(availableParallelism()) },
    rounds: { type: 'string' },
    architectures: { type: 'string', default: BENCH_ARCHITECTURES.join(',') },
    document: { type: 'string', default: DOCUMENT },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(`npm run bench:train -- [--sizes 0,1,2,3] [--architectures ${BENCH_ARCHITECTURES.join(',')}] [--threads N] [--rounds N] [--document FILE]
Times one training step of each contender; sizes are numbers in the table of docs/explanation/benchmarks.md, from 0.`);
  process.exit();
}
const python = process.env.SAE_PIPE_BENCH_PYTHON ?? 'bench/.venv/bin/python';
const threads = Number(options.threads);
const chosen = options.architectures.split(',').map((name) => {
  const known = BENCH_ARCHITECTURES.find((architecture) => architecture === name);
  if (!known) throw new Error(`${name} is not one of ${BENCH_ARCHITECTURES.join(', ')}`);
  return known;
});

/** Runs every contender in each round, so that a slow minute of the machine falls on all of them. */
function measure(size: Size, directory: string): Results {
  const start = join(directory, 'start.safetensors');
  const flags = { d: size.d, n: size.n, batch: size.B, l0: size.l0, out: start };
  execFileSync(python, [
    'bench/peers/make_start.py',
    ...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]),
  ]);
  const all = contenders(chosen, threads);
  const results = new Map<Contender, Timing | string>();
  for (let round = 0; round < Number(options.rounds ?? size.rounds); round++) {
    for (const contender of all) {
      const before = results.get(contender);
      if (typeof before === 'string') continue;
      const timing = time(contender, { start, k: size.l0, warmup: size.warmup, steps: size.steps, python });
      const seen = typeof timing === 'string' ? timing : `${median(timing.ms).toFixed(1)} ms`;
      process.stderr.write(
        `(${size.d}, ${size.n}, ${size.B}) round ${round + 1} ${contender.architecture}, ${contender.label}: ${seen}\n`,
      );
      if (typeof timing === 'string') results.set(contender, timing);
      else results.set(contender, before ? { ...timing, ms: [...before.ms, ...timing.ms] } : timing);
    }
  }
  rmSync(start);
  return results;
}

const digits = (ms: number) => (ms < 100 ? ms.toFixed(1) : ms.toFixed(0));

type Results = ReadonlyMap<Contender, Timing | string>;

/** A row per contender, compared with a time. */
function rowsOf(results: Results, architecture: BenchArchitecture, base: number): string[][] {
  return [...results].flatMap(([contender, timing]) => {
    if (contender.architecture !== architecture) return [];
    if (typeof timing === 'string') return [[contender.label, `could not run: ${timing}`, '', '', '']];
    const middle = median(timing.ms);
    const spread = `${digits(quantile(timing.ms, 0.25))}–${digits(quantile(timing.ms, 0.75))}`;
    const ratio = Number.isFinite(base) ? `${(base / middle).toFixed(2)} ×` : '–';
    return [[contender.label, digits(middle), spread, ratio, timing.l0?.toFixed(1) ?? '–']];
  });
}

/** Medians of an architecture's peers, of those with this label where one is given. */
function peerTimes(results: Results, architecture: BenchArchitecture, label?: string): number[] {
  return [...results].flatMap(([contender, timing]) => {
    const counted = contender.program === 'peer' && contender.architecture === architecture;
    return counted && typeof timing !== 'string' && (label ?? contender.label) === contender.label
      ? [median(timing.ms)]
      : [];
  });
}

/** The gated SAE against eager PyTorch. */
function gatedTable(results: Results): string {
  const [base = Number.NaN] = peerTimes(results, 'gated', EAGER);
  const head = ['', 'ms per step, median', 'quartiles', 'eager PyTorch / this', 'L0'];
  return markdownTable(head, rowsOf(results, 'gated', base));
}

/** Every other architecture against its fastest peer. */
function zooTable(results: Results): string {
  const rows = chosen
    .filter((architecture) => architecture !== 'gated')
    .flatMap((architecture) => {
      const fastest = Math.min(...peerTimes(results, architecture));
      return rowsOf(results, architecture, fastest).map((row) => [architecture, ...row]);
    });
  return markdownTable(['architecture', '', 'ms per step, median', 'quartiles', 'fastest peer / this', 'L0'], rows);
}

function profileTable(all: ReadonlyMap<Size, Results>): string {
  const rows: string[][] = [];
  let parts: string[] = [];
  for (const [size, results] of all) {
    for (const [contender, timing] of results) {
      if (typeof timing === 'string' || !timing.profile) continue;
      parts = Object.keys(timing.profile);
      const maths = contender.architecture === 'gated' ? '' : `, ${contender.architecture}`;
      const name = `(${size.d}, ${size.n}, ${size.B}, ${size.l0})${maths}, ${contender.threads} worker${contender.threads > 1 ? 's' : ''}`;
      rows.push([name, ...parts.map((part) => digits(timing.profile![part]!))]);
    }
  }
  return markdownTable(['(d, n, B, L0)', ...parts], rows);
}

const figureLabel = ({ architecture, label }: Contender) =>
  architecture === 'gated' ? label : `${architecture}: ${label}`;

const directory = mkdtempSync(join(tmpdir(), 'bench-train-'));
try {
  const all = new Map<Size, Results>();
  for (const index of options.sizes.split(',')) {
    const size = SIZES[Number(index)];
    if (!size) throw new Error(`there is no size ${index}`);
    all.set(size, measure(size, directory));
  }
  const versions = [
    ...new Set(
      [...all.values()].flatMap((r) => [...r.values()].flatMap((t) => (typeof t === 'string' ? [] : [t.version]))),
    ),
  ].filter((version) => version !== 'ours');
  const sections = [...all].map(
    ([size, results]) =>
      `### d ${size.d}, n ${size.n}, B ${size.B}, L0 ${size.l0}\n\n${[
        ...(chosen.includes('gated') ? [gatedTable(results)] : []),
        ...(chosen.some((name) => name !== 'gated') ? [zooTable(results)] : []),
      ].join('\n\n')}`,
  );
  const text = [
    `${circumstances()}; ${versions.join('; ')}; ${threads} threads.`,
    ...sections,
    `### Where a step of the sparse engine goes\n\nMedian milliseconds per step, mean over the workers.\n\n${profileTable(all)}`,
    ...(chosen.includes('gated') ? [await scalingSection(threads)] : []),
  ].join('\n\n');
  writeSection('train', 'One training step', text, options.document);
  if (options.document === DOCUMENT)
    writeSection('profile', 'Profile', profileTable(all), 'src/train/engines/README.md');
  const bars = [...all].map(([size, results]) => ({
    title: `d ${size.d} · n ${size.n} · B ${size.B} · L0 ${size.l0}`,
    bars: [...results].flatMap(([contender, timing]) =>
      typeof timing === 'string'
        ? []
        : [{ label: figureLabel(contender), ours: contender.program === 'ours', ms: median(timing.ms) }],
    ),
  }));
  if (options.document === DOCUMENT) writeFileSync('bench/results/train.svg', trainFigure(bars));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
