// npm run bench:feed: what the host takes to feed batches of a store to a device that takes each and returns at once.
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Batch } from '../src/activations/activation-source.js';
import { decodeShard } from '../src/activations/arrow-rows.js';
import { ActivationBatches } from '../src/activations/batches.js';
import type { ActivationDType } from '../src/activations/manifest.js';
import { notFiniteRow } from '../src/activations/rows.js';
import { openStore } from '../src/activations/store.js';
import { trainSchema } from '../src/config/stages/train.js';
import { activationDTypes } from '../src/config/values.js';
import { memoryFor } from '../src/disk/reading-memory.js';
import { silent } from '../src/progress/progress.js';
import type { Engine, EngineSettings, StepMetrics, TrainerState } from '../src/train/engines/engine.js';
import { saeOf } from '../src/train/engines/state.js';
import { train } from '../src/train/train.js';
import { markdownTable } from './markdown.js';
import { makeStore } from './random-store.js';
import { circumstances, writeSection } from './section.js';
import { quantile } from './statistics.js';

const { values: options } = parseArgs({
  options: {
    dtypes: { type: 'string', default: activationDTypes.join() },
    d: { type: 'string', default: '3072' },
    batch: { type: 'string', default: '4096' },
    rows: { type: 'string', default: String(3 * 2 ** 16) },
    shard: { type: 'string', default: String(2 ** 14) },
    pool: { type: 'string', default: String(2 ** 16) },
    passes: { type: 'string', default: '4' },
    /** Activations as they are, or with the flags that `train` has where none are given. */
    defaults: { type: 'boolean', default: false },
    directory: { type: 'string', default: tmpdir() },
    record: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(
    'npm run bench:feed -- [--dtypes float16,bfloat16,float32] [--d 3072] [--batch 4096] [--rows N] [--shard ROWS] [--pool ROWS] [--passes N] [--defaults] [--directory DIR] [--record]',
  );
  process.exit();
}
const [d, batch, rows, shardRows, poolRows, passes] = (['d', 'batch', 'rows', 'shard', 'pool', 'passes'] as const).map(
  (name) => Number(options[name]),
) as [number, number, number, number, number, number];

/** Features of the SAE that is not trained. */
const FEATURES = 64;
const NO_FLAGS = { normalize: 'none', maxActivationNormMultiple: 0, bDecInit: 'zero', start: 'zero' } as const;

/** Milliseconds of all threads. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** A device that takes batches from its own memory, as a GPU takes them from page-locked memory. */
class Device implements Engine {
  steps = 0;
  /** When it was given each batch, and how much processor time the process had taken by then. */
  readonly given: number[] = [];
  readonly spent: number[] = [];
  readonly buffers: readonly Batch[];

  constructor(
    private readonly settings: EngineSettings,
    private readonly start: TrainerState,
  ) {
    const { batch, dIn, batchDType } = settings;
    this.buffers = [0, 1].map(() => {
      const x = new (batchDType === 'float32' ? Float32Array : Uint16Array)(batch * dIn);
      // Memory that is already allocated.
      return { x: x.fill(1) };
    });
  }

  step({ x }: Batch): Promise<StepMetrics> {
    this.given.push(performance.now());
    this.spent.push(processorTime());
    const slot = this.buffers[this.steps % 2]!.x;
    // Batches not dealt there must be copied.
    if (!this.buffers.some((buffer) => buffer.x === x)) (slot as Float32Array).set(x as Float32Array);
    this.steps++;
    return Promise.resolve({ mse: 1, l1: 0, aux: 0, l0: 1, variance: 1, dead: 0 });
  }

  sae = async () => saeOf(this.settings, this.start);
  state = async () => this.start;
  load = async () => {};
  close = async () => {};
}

/** Milliseconds from batch to batch, the first from the command on, and of processor time that passed. */
async function feed(store: string, out: string): Promise<{ times: number[]; spent: number[] }> {
  const steps = Math.floor((passes * rows) / batch);
  const config = trainSchema.parse({
    ...{ activations: store, out, overwrite: true, dSae: FEATURES, batch, steps, l1: 1, poolRows },
    ...{ logEvery: steps, checkpointEvery: String(steps), discardState: true },
    ...(!options.defaults && NO_FLAGS),
  });
  let device: Device | undefined;
  const began = performance.now();
  const taken = processorTime();
  await train(config, silent, { signal: undefined }, async (_, settings, start) => {
    device = new Device(settings, start);
    return device;
  });
  const { given, spent } = device!;
  given.unshift(began);
  spent.unshift(taken);
  const differences = (of: readonly number[]) => of.slice(1).map((value, t) => value - of[t]!);
  return { times: differences(given), spent: differences(spent) };
}

/** Milliseconds per batch of the pieces of the work, each alone on one thread: the least that any shard or batch took. */
async function parts(store: string, dtype: ActivationDType): Promise<Record<string, number>> {
  const opened = await openStore(store);
  const { shards } = opened;
  const { d_in } = opened.manifest;
  const least = { read: Infinity, hash: Infinity, check: Infinity, deal: Infinity };
  const timed = <T>(name: keyof typeof least, share: number, work: () => T): T => {
    const began = performance.now();
    const result = work();
    least[name] = Math.min(least[name], (performance.now() - began) * share);
    return result;
  };
  const memory = memoryFor(shards.largestBytes).fill(1);
  for (const { file, rows: count, bytes: size } of shards) {
    const path = join(store, file);
    const bytes = memory.subarray(0, size);
    const share = batch / count;
    timed('read', share, () => readInto(path, bytes));
    timed('hash', share, () => createHash('sha256').update(bytes).digest());
    const decoded = decodeShard(bytes, d_in, dtype, path);
    timed('check', share, () => notFiniteRow(decoded, dtype));
  }
  const batches = new ActivationBatches(opened, 'shuffled', 0, poolRows);
  let into = await batches.next(batch);
  for (let k = 1; k < Math.floor(Math.min(poolRows, rows) / batch); k++) {
    const began = performance.now();
    into = await batches.next(batch, into);
    least.deal = Math.min(least.deal, performance.now() - began);
  }
  return least;
}

function readInto(path: string, bytes: Uint8Array): void {
  const file = openSync(path, 'r');
  readSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
}

const table: string[][] = [];
for (const dtype of options.dtypes.split(',') as ActivationDType[]) {
  const directory = mkdtempSync(join(options.directory, 'bench-feed-'));
  try {
    const store = join(directory, 'store');
    mkdirSync(store);
    await makeStore(store, d, rows, { dtype, shardRows, windowRows: 2 ** 16 });
    const alone = await parts(store, dtype);
    const { times, spent } = await feed(store, join(directory, 'out'));
    const first = times.slice(0, Math.floor(rows / batch));
    const later = times.slice(first.length);
    const mean = (of: readonly number[]) => of.reduce((sum, ms) => sum + ms, 0) / of.length;
    table.push([
      dtype,
      ...[mean(first), mean(later), ...[0.1, 0.5, 0.95].map((q) => quantile(later, q))].map((ms) => ms.toFixed(1)),
      ...[mean(spent.slice(0, first.length)), mean(spent.slice(first.length))].map((ms) => ms.toFixed(1)),
      ...Object.values(alone).map((ms) => ms.toFixed(1)),
    ]);
    process.stderr.write(`${table.at(-1)!.join('  ')}\n`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
const head = [
  ...['store', 'first pass, mean ms per batch', 'later passes, mean', '10 %', 'median', '95 %'],
  ...['processor time, first pass', 'later'],
  ...['reading', 'hashing', 'checking', 'dealing'],
];
const flags = options.defaults ? 'flags of `train` at their defaults' : 'activations as they are';
const text = `${circumstances()}; batches of ${batch} × ${d}, ${flags}.\n\n${markdownTable(head, table)}`;
if (options.record) writeSection('feed', 'Feeding', text, 'docs/how-to/gpu.md');
else console.log(text);
