// npm run bench:train-stage: the complete stage, from shards on disk to the SAE, against its engine's steps alone.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ActivationBatches } from '../src/activations/batches.js';
import type { ActivationArray } from '../src/activations/rows.js';
import { openStore } from '../src/activations/store.js';
import { trainSchema } from '../src/config/stages/train.js';
import { quantileAbove } from '../src/inspect/normal.js';
import { silent } from '../src/progress/progress.js';
import { initialise } from '../src/sae/registry.js';
import { square } from '../src/sae/sae.js';
import { openSae, readSae, saveSae } from '../src/sae/saelens.js';
import { openEngine } from '../src/train/engines/open.js';
import { train } from '../src/train/train.js';
import { markdownTable } from './markdown.js';
import { makeStore } from './random-store.js';
import { circumstances, writeSection } from './section.js';
import { median } from './statistics.js';

/** d, n, B, L0 as in the table of training steps; rows of the store, and steps of a round. */
const SIZES = [
  { d: 192, n: 3072, B: 1024, l0: 24, rows: 400_000, steps: 400 },
  { d: 512, n: 8192, B: 1024, l0: 64, rows: 300_000, steps: 250 },
  { d: 2048, n: 16_384, B: 2048, l0: 64, rows: 150_000, steps: 24 },
];

const { values: options } = parseArgs({
  options: {
    sizes: { type: 'string', default: '0,1,2' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: String(availableParallelism()) },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log('npm run bench:train-stage -- [--sizes 0,1,2] [--rounds N] [--threads N]');
  process.exit();
}
const threads = Number(options.threads);

/** Batches that the engine alone is fed with, over and over. */
const HELD = 32;

interface Round {
  readonly stage: number;
  readonly engine: number;
}

/** Milliseconds per step of the stage, from its first batch to its last, and of the engine fed from memory. */
async function round(size: (typeof SIZES)[number], store: string, init: string, out: string): Promise<Round> {
  const { d, n, B, steps } = size;
  const config = trainSchema.parse({
    ...{ activations: store, dSae: n, batch: B, steps, lr: 1e-6, l1: 1, warmup: 0, init, out, threads },
    ...{ normalize: 'none', overwrite: true },
  });
  let began = 0;
  let ended = 0;
  const progress = {
    ...silent,
    begin: () => {
      began = performance.now();
    },
    end: () => {
      ended = performance.now();
    },
  };
  await train(config, progress, { signal: undefined });
  const stage = (ended - began) / steps;

  const batches = new ActivationBatches(await openStore(store), 'shuffled', 0);
  const held: ActivationArray[] = [];
  // So many that they come from memory as in the stage, not from the processor's cache.
  for (let k = 0; k < HELD; k++) held.push((await batches.next(B)).x);
  const { parameters } = await readSae(await openSae(init));
  const settings = { architecture: 'gated', dIn: d, dSae: n, batch: B, batchDType: 'float16', scale: 1 } as const;
  const engine = await openEngine(
    'sparse',
    { ...settings, beta1: 0, beta2: 0.999, deadWindow: 1_000_000, threads },
    new Map(Object.entries(parameters)),
  );
  const start = performance.now();
  for (let t = 0; t < steps; t++) await engine.step({ x: held[t % held.length]! }, { lr: 1e-6, l1: 1 });
  const alone = (performance.now() - start) / steps;
  await engine.close();
  return { stage, engine: alone };
}

/** Milliseconds per batch of each thing that the stage does in addition to the engine's steps, one after another. */
async function profile({ B }: (typeof SIZES)[number], store: string): Promise<{ read: number; gather: number }> {
  const opened = await openStore(store);
  const rows = opened.manifest.rows;
  const began = performance.now();
  for (let i = 0; i < opened.shards.length; i++) await opened.readShard(i);
  const read = ((performance.now() - began) * B) / rows;
  const batches = new ActivationBatches(opened, 'shuffled', 0);
  await batches.next(B);
  const gathers: number[] = [];
  for (let k = 0; k < 50; k++) {
    const start = performance.now();
    await batches.next(B);
    gathers.push(performance.now() - start);
  }
  return { read, gather: median(gathers) };
}

const rows: string[][] = [];
for (const index of options.sizes.split(',')) {
  const size = SIZES[Number(index)];
  if (!size) throw new Error(`there is no size ${index}`);
  const directory = mkdtempSync(join(tmpdir(), 'bench-train-stage-'));
  try {
    const store = join(directory, 'store');
    const init = join(directory, 'init');
    const { d, n, l0 } = size;
    for (const path of [store, init]) mkdirSync(path);
    await makeStore(store, d, size.rows);
    const sae = initialise('gated', square(d, n), 1);
    // Rows of W_enc are unit vectors and x is normal, and so is every pre-activation.
    sae.parameters.b_gate!.fill(-quantileAbove(l0 / n));
    await saveSae(init, sae, {});
    const { read, gather } = await profile(size, store);
    const rounds: Round[] = [];
    for (let k = 0; k < Number(options.rounds); k++) {
      rounds.push(await round(size, store, init, join(directory, 'out')));
      const { stage, engine } = rounds.at(-1)!;
      process.stderr.write(
        `(${d}, ${n}) round ${k + 1}: stage ${stage.toFixed(1)} ms, engine ${engine.toFixed(1)} ms\n`,
      );
    }
    const ratios = rounds.map(({ stage, engine }) => engine / stage);
    const cells = [median(rounds.map((r) => r.stage)), median(rounds.map((r) => r.engine)), read, gather];
    rows.push([
      `(${d}, ${n}, ${size.B}, ${l0})`,
      ...cells.map((ms) => ms.toFixed(2)),
      `${(100 * median(ratios)).toFixed(1)} % (${ratios.map((r) => (100 * r).toFixed(1)).join(', ')})`,
    ]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
const head = [
  '(d, n, B, L0)',
  'stage, ms per step',
  'engine alone',
  'shards read and hashed',
  'rows gathered',
  'engine / stage (rounds)',
];
writeSection(
  'train-stage',
  'The training stage',
  `${circumstances()}; ${threads} threads.\n\n${markdownTable(head, rows)}`,
);
