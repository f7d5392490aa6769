/**
 * Does the cost per token stay flat as a store grows, and does reading depend on the number of its shards? Each case runs
 * in a separate process, on a model of one small layer, so that our own work is timed and not the model’s.
 *
 *     npm run bench:scale [-- --large] [--note TEXT]
 *
 * --large continues to 10⁸ rows, which takes 5 GB of disk and ten times as long.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { GrowingManifest } from '../src/activations/growing-manifest.js';
import { type Manifest, readManifest, writeManifest } from '../src/activations/manifest.js';
import { openStoreSource } from '../src/activations/store-source.js';
import { loadConfig } from '../src/config/load.js';
import { harvest } from '../src/harvest/harvest.js';
import { type StopRequest, silent } from '../src/progress/progress.js';
import { Generator } from '../src/random/generator.js';
import { train } from '../src/train/train.js';
import { markdownTable } from './markdown.js';
import { writeRandomCheckpoint } from './random-checkpoint.js';
import { makeStore } from './random-store.js';
import { circumstances, writeSection } from './section.js';
import { TRIAL } from './trial.js';

const never: StopRequest = { signal: undefined };
const HOOK = 'blocks.0.hook_resid_post';
const D = 16;
/** Rows of a store of which only the number of shards differs. */
const ROWS = 1_000_000;
const SHARDS = [16, 1000, 10_000] as const;

/** What a case took. */
interface Taken {
  readonly wall: number;
  /** Seconds of processor time, all threads. */
  readonly cpu: number;
  /** Bytes resident at most. */
  readonly peak: number;
}

/** The work of a case, in the process that was started for it. */
const CASES: Readonly<Record<string, (directory: string, count: number) => Promise<Readonly<Record<string, number>>>>> =
  {
    harvest: async (directory, rows) => {
      const flags = { model: join(directory, 'model'), corpus: join(directory, 'ids.bin'), 'ids-dtype': 'uint16' };
      const out = join(directory, `acts-${rows}`);
      await harvest(loadConfig('harvest', { ...flags, hook: HOOK, tokens: rows, context: 128, out }), silent, never);
      return {};
    },
    train: async (directory, rows) => {
      const activations = join(directory, `acts-${rows}`, HOOK);
      const out = join(directory, `sae-${rows}`);
      const flags = { activations, out, 'd-sae': 64, tokens: rows, batch: 4096, 'discard-state': true };
      await train(loadConfig('train', flags), silent, never);
      return {};
    },
    read: async (directory, shards) => {
      const began = performance.now();
      const source = await openStoreSource({ activations: join(directory, `shards-${shards}`) });
      const opened = performance.now();
      const kept = bytesKept();
      const batches = source.batches('shuffled', 0);
      for (let rows = 0; rows < ROWS; rows += 1000) await batches.next(1000);
      await source.close();
      return { open: (opened - began) / 1000, epoch: (performance.now() - opened) / 1000, kept };
    },
    /** The lists of a harvest of `shards` shards, in windows of 16; the shards themselves are left out. */
    list: async (directory, shards) => {
      const store = join(directory, `shards-${SHARDS[0]}`);
      const { statistics: _, ...manifest } = await readManifest(store);
      const out = join(directory, `list-${shards}`);
      mkdirSync(out);
      const fresh: Manifest = {
        ...manifest,
        shards: [],
        contexts: [],
        rows: 0,
        rows_wanted: 10 * shards,
        complete: false,
      };
      const growing = new GrowingManifest(out, fresh);
      const [shard, window] = [manifest.shards[0]!, manifest.contexts[0]!];
      const began = bytesWritten();
      for (let i = 0; i < shards; i++) {
        const of = i >> 4;
        const pending = { window: of, rows: 16 * shard.rows, contexts: 1, contexts_sha256: window.sha256 };
        const file = `shard-${String(i).padStart(5, '0')}.arrow`;
        await growing.add({ shard: { ...shard, file, window: of }, pending });
        if (i % 16 === 15) await growing.add({ window: { ...window, rows: 1 } });
      }
      await growing.complete();
      return { written: bytesWritten() - began };
    },
    /** What a process takes that does nothing. */
    nothing: async () => ({}),
  };

/** Bytes in use by this process, within and outside its heap. */
function bytesKept(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Bytes that this process has handed to write calls; Linux counts them. */
function bytesWritten(): number {
  return Number(/^wchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);
}

/** Runs a case in a separate process. */
function taken(name: string, directory: string, count: number): Taken & Readonly<Record<string, number>> {
  const words = ['--expose-gc', fileURLToPath(import.meta.url), 'case', name, directory, String(count)];
  return JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' }).trim().split('\n').at(-1)!);
}

async function runCase(name: string, directory: string, count: number): Promise<void> {
  const began = performance.now();
  const found = await CASES[name]!(directory, count);
  const { user, system } = process.cpuUsage();
  const peak = 1024 * process.resourceUsage().maxRSS;
  const wall = (performance.now() - began) / 1000;
  console.log(JSON.stringify({ wall, cpu: (user + system) / 1e6, peak, ...found }));
}

const MIB = (bytes: number) => (bytes / 2 ** 20).toFixed(0);
const power = (n: number) =>
  `10${[...String(Math.round(Math.log10(n)))].map((digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)]).join('')}`;

/** Harvest and train over ever more rows; what a process of 1000 rows takes is taken off. */
function growth(directory: string, sizes: readonly number[]): string {
  const rows: string[][] = [];
  for (const stage of ['harvest', 'train']) {
    const start = taken(stage, directory, 5000);
    for (const size of sizes) {
      const { cpu, wall, peak } = taken(stage, directory, size);
      const each = (whole: number, less: number) => ((1e6 * (whole - less)) / (size - 5000)).toFixed(2);
      rows.push([stage, power(size), each(cpu, start.cpu), each(wall, start.wall), MIB(peak)]);
      console.error(rows.at(-1)!.join(' '));
    }
  }
  return markdownTable(['stage', 'rows', 'µs of processor time per row', 'µs per row', 'peak memory (MiB)'], rows);
}

/**
 * A store of ROWS rows in `count` shards: one shard, and links to it under the other names. To the reader they are as
 * many files, and making them takes no minutes.
 */
async function storeOfShards(store: string, count: number): Promise<void> {
  mkdirSync(store);
  await makeStore(store, D, ROWS / count, { shardRows: ROWS / count });
  const manifest = await readManifest(store);
  const [first] = manifest.shards;
  const shards = Array.from({ length: count }, (_, i) => ({
    ...{ ...first!, file: `shard-${String(i).padStart(5, '0')}.arrow` },
  }));
  for (const { file } of shards.slice(1)) linkSync(join(store, first!.file), join(store, file));
  const { statistics: _of, ...rest } = manifest;
  await writeManifest(store, { ...rest, shards, rows: ROWS, rows_wanted: ROWS, complete: true });
}

/** One store cut into ever more shards: opening, an epoch in shuffled order, memory; and the lists that a harvest writes. */
async function shards(directory: string): Promise<string> {
  const rows: string[][] = [];
  let few = 0;
  for (const count of SHARDS) {
    await storeOfShards(join(directory, `shards-${count}`), count);
    const { open, epoch, kept, peak } = taken('read', directory, count);
    few ||= kept!;
    const each = count === SHARDS[0] ? '' : ((kept! - few) / (count - SHARDS[0]!)).toFixed(0);
    const { written } = taken('list', directory, count);
    rows.push([String(count), open!.toFixed(2), epoch!.toFixed(1), MIB(peak), each, (written! / 1e6).toFixed(1)]);
    console.error(rows.at(-1)!.join(' '));
  }
  const memory = ['peak memory (MiB)', 'bytes per shard that an open store keeps'];
  return markdownTable(
    ['shards', 's to open', 's per epoch, shuffled', ...memory, 'MB of lists that a harvest writes'],
    rows,
  );
}

/** Token ids, drawn at random: any text costs as much. */
function writeIds(path: string, count: number): void {
  const random = new Generator(5);
  const table = Uint16Array.from({ length: 2 ** 20 }, () => 3 + random.below(250));
  const ids = new Uint16Array(count);
  for (let at = 0; at < count; at += table.length) ids.set(table.subarray(0, count - at), at);
  writeFileSync(path, ids);
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { large: { type: 'boolean' }, note: { type: 'string' } } });
  const sizes = [1e5, 1e6, 1e7, ...(values.large ? [1e8] : [])];
  const directory = mkdtempSync(join(tmpdir(), 'sae-pipe-scale-'));
  try {
    await writeRandomCheckpoint(join(directory, 'model'), 'least');
    for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
      copyFileSync(join(TRIAL.model, name), join(directory, 'model', name));
    }
    // BOS takes a position of each context.
    writeIds(join(directory, 'ids.bin'), Math.ceil(1.02 * Math.max(...sizes)));
    const text = [
      `\`npm run bench:scale${values.large ? ' -- --large' : ''}\`: complete stages in separate processes, on a random model of one layer of width ${D}; an SAE of 64 features, batches of 4096. Per row beyond a run of 5,000 rows.`,
      '',
      growth(directory, sizes),
      '',
      `A store of ${ROWS.toLocaleString('en')} rows in ever more shards:`,
      '',
      await shards(directory),
      '',
      `${circumstances()}${values.note === undefined ? '' : `, ${values.note}`}.`,
    ];
    writeSection('scale', 'Scale', text.join('\n'));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const [mode, name, directory, count] = process.argv.slice(2);
if (mode === 'case') await runCase(name!, directory!, Number(count));
else await main();
