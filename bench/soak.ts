// npm run bench:soak -- [--minutes 30]: memory of harvest, train and eval running for long, compared with the bound they print.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { formatBytes } from '../src/disk/space.js';
import { markdownTable } from './markdown.js';
import { processMemory } from './process-memory.js';
import { circumstances, writeSection } from './section.js';
import { type Drift, driftOf, drifts, MOST_GROWTH } from './soak-drift.js';
import { type Phase, soakFigure } from './soak-figure.js';

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    only: { type: 'string' },
    write: { type: 'boolean', default: true },
    help: { type: 'boolean', default: false },
  },
  allowNegative: true,
});
if (options.help) {
  console.log('npm run bench:soak -- [--minutes 30] [--only PHASE] [--no-write]');
  process.exit();
}
const minutes = Number(options.minutes);
const HOOK = 'blocks.2.hook_resid_post';
const PROGRAM = 'bin/sae-pipe.js';
/** Time that a process has to end after SIGINT: it finishes a window, a checkpoint or a round. */
const PATIENCE = 120_000;
/** Seconds between samples. */
const INTERVAL = 0.5;
/** Tokens of the store that is trained on. */
const STORED = 120_000;

const root = mkdtempSync(join(tmpdir(), 'sae-pipe-soak-'));
const store = join(root, 'store');
const MODEL = ['--model', 'assets/tiny-gemma', '--context', '128'];

/** Flags of a training in which everything that opens and closes something happens often. */
const TRAINING = [
  ...['--d-sae', '1536', '--batch', '1024', '--steps', '1000000', '--log-every', '10', '--lr', '1e-3', '--l1', '40'],
  ...['--checkpoint-every', '40', '--dead-window', '1024', '--resample-inputs', '16384', '--resample-warmup', '20'],
  ...['--resample-at', Array.from({ length: 2000 }, (_, i) => 60 * (i + 1)).join()],
];

interface Planned {
  readonly name: string;
  /** Of the whole time. */
  readonly share: number;
  readonly args: readonly string[];
  /** Called between samples. */
  readonly tidy?: () => void;
  /** What the program prints about the work of this phase; it must, and the count is reported. */
  readonly event?: readonly [said: RegExp, name: string];
}

/** Features that are dead are given directions, which opens sessions and changes the engine's state. */
const RESAMPLING = [/dead features resampled/g, 'resamplings'] as const;

/** @param tokens more than are harvested in the time */
const phases = (tokens: number): readonly Planned[] => [
  {
    name: 'harvest',
    share: 0.3,
    args: [
      ...[PROGRAM, 'harvest', ...MODEL, '--corpus', join(root, 'long'), '--hook', HOOK, '--tokens', String(tokens)],
      ...['--window-rows', '65536', '--rows-per-shard', '16384', '--out', join(root, 'harvest')],
    ],
    tidy: () => removeOldShards(join(root, 'harvest', HOOK)),
  },
  {
    name: 'train from a store',
    share: 0.25,
    args: [
      ...[PROGRAM, 'train', '--activations', join(store, HOOK), '--pool-rows', '50000', ...TRAINING],
      ...['--out', join(root, 'train')],
    ],
    event: RESAMPLING,
  },
  {
    name: 'train on a running model',
    share: 0.25,
    args: [
      ...[PROGRAM, 'train', ...MODEL, '--corpus', 'assets/corpus/train.jsonl.gz', '--hook', HOOK, ...TRAINING],
      ...['--pool-rows', '50000', '--out', join(root, 'live')],
    ],
    event: RESAMPLING,
  },
  {
    name: 'eval and sweep, again and again',
    share: 0.2,
    args: ['dist/bench/soak-loop.js', join(root, 'sae'), join(root, 'sweep.yaml'), join(root, 'loop')],
  },
];

/** The program, run to its end. */
function run(...args: string[]): void {
  const { status, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${args[0]} ended with ${status}: ${stderr}`);
}

/** @returns tokens per second of a harvest, everything included */
function prepare(): number {
  mkdirSync(join(root, 'long'));
  // The bundled text repeatedly: a harvest must not end early.
  const text = gunzipSync(readFileSync('assets/corpus/train.jsonl.gz'));
  for (let i = 0; i < 12; i++) writeFileSync(join(root, 'long', `part-${i}.jsonl`), text);
  const corpus = ['--corpus', 'assets/corpus/train.jsonl.gz', '--hook', HOOK];
  const begun = performance.now();
  run('harvest', ...MODEL, ...corpus, '--tokens', String(STORED), '--rows-per-shard', '16384', '--out', store);
  const rate = STORED / ((performance.now() - begun) / 1000);
  const small = ['--d-sae', '512', '--batch', '1024', '--steps', '20'];
  run('train', '--activations', join(store, HOOK), ...small, '--out', join(root, 'sae'));
  writeFileSync(
    join(root, 'sweep.yaml'),
    `train: {steps: 12, batch: 512, d-sae: 384, dead-window: 2000, resample-at: [6], resample-inputs: 4096, pool-rows: 20000}
sweep: {activations: ${store}, hook: ${HOOK}, arch: [gated, standard], l1: [2, 6]}
`,
  );
  return rate;
}

/** Shards are written and never read again: the disk need not hold an hour of them. */
function removeOldShards(directory: string): void {
  let names: string[] = [];
  try {
    names = readdirSync(directory).filter((name) => /^(shard|contexts)-\d+\.arrow$/.test(name));
  } catch {
    // It has not begun.
  }
  for (const kind of ['shard', 'contexts']) {
    const old = names.filter((name) => name.startsWith(kind)).sort();
    for (const name of old.slice(0, -4)) rmSync(join(directory, name), { force: true });
  }
}

/** The bound that the program printed: "Memory: at most 1.2 GiB (…)". */
function boundIn(text: string): number | null {
  const [, value, unit] = /Memory: at most ([\d.]+) ([KMG]iB)/.exec(text) ?? [];
  return value === undefined ? null : Number(value) * 2 ** { KiB: 10, MiB: 20, GiB: 30 }[unit as 'KiB']!;
}

interface Measured extends Phase {
  readonly command: string;
  readonly peak: number;
  readonly drift: Drift;
  readonly failures: readonly string[];
}

/** Runs a phase for its time, which begins when its bound is printed, and measures its memory throughout. */
async function measure({ name: planned, share, args, tidy, event }: Planned): Promise<Measured> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (data) => {
    said += data;
    bound ??= boundIn(said);
  });
  let bound: number | null = null;
  const ended = once(child, 'close');
  let samples: [number, number, number][] = [];
  let peak = 0;
  let begun = performance.now();
  let waits = args[0] === PROGRAM;
  const seconds = () => (performance.now() - begun) / 1000;
  while (seconds() < 60 * minutes * share && child.exitCode === null) {
    await sleep(1000 * INTERVAL);
    // What comes before, as counting the tokens of a corpus, is another kind of work.
    if (waits && bound !== null) [begun, samples, waits] = [performance.now(), [], false];
    const memory = processMemory(child.pid!);
    if (memory && child.exitCode === null) {
      samples.push([seconds(), memory.resident, memory.anonymous]);
      peak = Math.max(peak, memory.resident);
    }
    tidy?.();
  }
  const failures: string[] = [];
  if (child.exitCode !== null) failures.push(`it ended by itself with ${child.exitCode}: ${said.slice(-2000)}`);
  await stop(child, ended);
  const drift = driftOf(samples.map(([, resident]) => resident));
  if (args[0] === PROGRAM && bound === null) failures.push('it printed no bound');
  if (bound !== null && peak > bound) failures.push(`${formatBytes(peak)} is beyond its bound ${formatBytes(bound)}`);
  const events = event ? (said.match(event[0])?.length ?? 0) : undefined;
  if (events === 0) failures.push(`there were no ${event![1]} in it`);
  const name = events === undefined ? planned : `${planned} (${events} ${event![1]})`;
  if (drifts(drift)) failures.push(`it grows: ${interval(drift)} over the second half`);
  const command = ['node', ...args]
    .join(' ')
    .replaceAll(root, 'TMP')
    .replace(/--resample-at \S+/, '--resample-at 60,120,…');
  return { name, command, bound, peak, drift, failures, samples };
}

async function stop(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.kill('SIGINT');
  await Promise.race([ended, sleep(PATIENCE, undefined, { ref: false })]);
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
}

const mebibytes = (bytes: number, sign = false) =>
  `${sign && bytes >= 0 ? '+' : ''}${(bytes / 2 ** 20).toFixed(1).replace('-', '−')}`;
const interval = ({ growth, low, high }: Drift) =>
  `${mebibytes(growth, true)} MiB [${mebibytes(low, true)}, ${mebibytes(high, true)}]`;

/** Every n-th sample, so that some hundreds are left. */
function thinned(phase: Measured): Measured {
  const every = Math.max(1, Math.ceil(phase.samples.length / 400));
  return { ...phase, samples: phase.samples.filter((_, i) => i % every === 0) };
}

let failed = false;
try {
  const rate = prepare();
  const tokens = Math.round(Math.max(STORED, 4 * rate * 60 * minutes * 0.3));
  const measured: Measured[] = [];
  for (const phase of phases(tokens).filter(
    ({ name }) => options.only === undefined || name.startsWith(options.only),
  )) {
    const found = await measure(phase);
    measured.push(found);
    const bound = found.bound === null ? '' : ` of at most ${formatBytes(found.bound)}`;
    console.log(`${found.name}: peak ${formatBytes(found.peak)}${bound}; second half ${interval(found.drift)}`);
    for (const failure of found.failures) console.error(`${found.name}: ${failure}`);
    failed ||= found.failures.length > 0;
  }
  // What fails is as worth keeping as what passes.
  if (options.write) {
    const kept = measured.map(thinned);
    const json = { minutes, circumstances: circumstances(), most_growth: MOST_GROWTH, phases: kept };
    writeFileSync('bench/results/soak.json', `${JSON.stringify(json)}\n`);
    writeFileSync('bench/results/soak.svg', soakFigure(kept));
    const rows = measured.map(({ name, bound, peak, drift, samples }) => [
      name,
      (samples.at(-1)![0] / 60).toFixed(1),
      bound === null ? '–' : mebibytes(bound),
      mebibytes(peak),
      mebibytes(drift.mean),
      `${mebibytes(drift.growth, true)} [${mebibytes(drift.low, true)}, ${mebibytes(drift.high, true)}]`,
    ]);
    const head = [
      'phase',
      'minutes',
      'bound (MiB)',
      'peak (MiB)',
      'mean, 2nd half (MiB)',
      'growth in the 2nd half (MiB)',
    ];
    const failures = measured.flatMap(({ name, failures }) => failures.map((failure) => `- ${name}: **${failure}**`));
    const said = failures.length > 0 ? `\n\n${failures.join('\n')}` : '';
    const text = `${markdownTable(head, rows)}${said}\n\n![Resident memory of each phase over time, below its bound](../bench/results/soak.svg)\n\n${circumstances()}; ${minutes} minutes in all.`;
    writeSection('soak', 'Memory', text, 'docs/explanation/reliability.md');
  }
} finally {
  rmSync(root, { recursive: true, force: true });
}
if (failed) process.exitCode = 1;
