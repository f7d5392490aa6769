/**
 * How fast the pages of a folder of features are: opening it, a page of the list however it is sorted, filtered or
 * searched, a feature, and 50 people who click for half a minute. The folder is made up, as large as a real one.
 *
 *     npm run bench:features              -- --features 131072,1048576: takes minutes to make and 4 GB of disk per million
 *     npm run bench:features -- --tiny       a small folder for five seconds, to see that it runs; writes no page
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { ListQuery } from '../src/explore/api.js';
import { type ExploredFolder, exploreFolder } from '../src/explore/explorer.js';
import { FEATURES_FILE } from '../src/features/folder.js';
import { silent } from '../src/progress/progress.js';
import { Generator } from '../src/random/generator.js';
import { writeSampleFolder } from '../test/explore/sample-folder.js';
import { markdownTable } from './markdown.js';
import { circumstances, spread, writeSection } from './section.js';

const { values: options } = parseArgs({
  options: {
    tiny: { type: 'boolean', default: false },
    features: { type: 'string', default: '131072,1048576' },
    /** Where folders are made, and kept for the next time. */
    folders: { type: 'string', default: '/tmp/sae-pipe-bench-explore' },
  },
});
const SIZES = options.tiny ? [2048] : options.features.split(',').map(Number);
const VOCABULARY = options.tiny ? 1000 : 256_000;
const D_IN = 3072;
const REQUESTS_PER_SECOND = 200;
const SECONDS = options.tiny ? 5 : 30;
const PEOPLE = 50;
const LOOKS = options.tiny ? 20 : 200;

/** A folder with this many features, made unless it exists. */
async function folderOf(features: number): Promise<string> {
  const directory = join(options.folders, String(features));
  if (existsSync(join(directory, FEATURES_FILE))) return directory;
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(options.folders, { recursive: true });
  const vocabulary = Array.from({ length: VOCABULARY }, (_, id) => ` token${id.toString(36)}`);
  // Twenty examples of the strongest; of a hundred thousand features all bands, too.
  const perBand = features > 500_000 ? 0 : 5;
  await writeSampleFolder(directory, { features, vocabulary, dIn: D_IN, top: 20, perBand });
  return directory;
}

async function milliseconds(work: () => unknown): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

const QUERIES: readonly (readonly [string, (random: Generator) => ListQuery])[] = [
  ['sorted, the first time', () => ({ sort: 'normShare', order: 'asc' })],
  ['sorted, another page', (random) => ({ sort: 'frequency', from: 50 * random.below(1000) })],
  [
    'filtered',
    (random) => ({ alive: 1, bounds: { max: [random.uniform(), 10], decoderCosine: [random.uniform(), 1] } }),
  ],
  ['searched', (random) => ({ q: `token${random.below(46_656).toString(36)}` })],
];

/** Milliseconds per page of the list by kind of request, as the server sees it: JSON included. */
async function listTimes({ saes }: ExploredFolder): Promise<[string, number[]][]> {
  const { lists } = [...saes.values()][0]!;
  const random = new Generator(1);
  const times: [string, number[]][] = [];
  for (const [what, query] of QUERIES) {
    const looks = what.endsWith('first time') ? 1 : LOOKS;
    const taken: number[] = [];
    for (let i = 0; i < looks; i++) {
      const asked = query(random);
      taken.push(await milliseconds(() => JSON.stringify(lists.list(asked))));
    }
    times.push([`list, ${what}`, taken]);
  }
  return times;
}

async function pageTimes({ saes }: ExploredFolder, features: number): Promise<number[]> {
  const { pages } = [...saes.values()][0]!;
  const random = new Generator(2);
  const taken: number[] = [];
  for (let i = 0; i < LOOKS; i++) {
    const feature = random.below(features);
    taken.push(await milliseconds(async () => JSON.stringify(await pages.page(feature))));
  }
  return taken;
}

/** What happened to requests that came at an even rate. */
interface Load {
  readonly milliseconds: number[];
  readonly failures: number;
  /** MiB of the server: after a sixth of the time, and in the end. */
  readonly memory: readonly [number, number];
}

async function underLoad(folder: string, features: number): Promise<Load> {
  const server = spawn(process.execPath, ['bin/sae-pipe.js', 'explore', folder, '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const url = await new Promise<string>((resolve, reject) => {
      server.stdout.once('data', (line: Buffer) => resolve(line.toString().trim()));
      server.once('exit', () => reject(new Error('the server has ended')));
    });
    return await click(url, features, server.pid!);
  } finally {
    server.kill('SIGINT');
    await new Promise((resolve) => server.once('exit', resolve));
  }
}

async function click(url: string, features: number, pid: number): Promise<Load> {
  const agent = new Agent({ keepAlive: true, maxSockets: PEOPLE });
  const random = new Generator(3);
  const taken: number[] = [];
  let failures = 0;
  let first = 0;
  const open: Promise<void>[] = [];
  const total = REQUESTS_PER_SECOND * SECONDS;
  const began = performance.now();
  for (let i = 0; i < total; i++) {
    const wait = began + (1000 * i) / REQUESTS_PER_SECOND - performance.now();
    if (wait > 1) await new Promise((resolve) => setTimeout(resolve, wait));
    if (i === Math.floor(total / 6)) first = await memoryOf(pid);
    const asked = performance.now();
    const answered = bytesAt(`${url}${somePath(random, features)}`, agent);
    open.push(
      answered.then(
        () => void taken.push(performance.now() - asked),
        () => void failures++,
      ),
    );
  }
  await Promise.all(open);
  const last = await memoryOf(pid);
  agent.destroy();
  return { milliseconds: taken, failures, memory: [first, last] };
}

function somePath(random: Generator, features: number): string {
  const kind = random.below(10);
  if (kind < 4) return `data/gated/features/${random.below(features)}.json`;
  if (kind < 6) return `data/gated/list?sort=max&from=${50 * random.below(40)}`;
  if (kind < 7) return `data/gated/list?q=token${random.below(1296).toString(36)}`;
  if (kind < 8) return `data/gated/list?alive=1&frequency=${random.uniform() / 1000}..`;
  return ['data/index.json', 'data/gated/scatter.json', 'page.js', ''][random.below(4)]!;
}

function bytesAt(url: string, agent: Agent): Promise<void> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (answer) => {
      if (answer.statusCode !== 200) reject(new Error(`${url}: ${answer.statusCode}`));
      answer.resume().once('end', resolve).once('error', reject);
    }).once('error', reject);
  });
}

async function memoryOf(pid: number): Promise<number> {
  const { readFile } = await import('node:fs/promises');
  const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))!;
  return Number(kilobytes) / 1024;
}

const cells = (values: readonly number[]) => {
  const { median, most } = spread(values);
  const sorted = [...values].sort((a, b) => a - b);
  return [median, sorted[Math.floor(0.99 * (sorted.length - 1))]!, most].map((value) => value.toFixed(1));
};

const rows: string[][] = [];
const lines: string[] = [];
for (const features of SIZES) {
  const folder = await folderOf(features);
  let explorer!: ExploredFolder;
  const name = features.toLocaleString('en');
  const opening = await milliseconds(async () => {
    explorer = await exploreFolder(folder, silent);
  });
  rows.push([`${name}: open the folder`, ...cells([opening])]);
  for (const [what, taken] of await listTimes(explorer)) rows.push([`${name}: ${what}`, ...cells(taken)]);
  rows.push([`${name}: feature`, ...cells(await pageTimes(explorer, features))]);
  const load = await underLoad(folder, features);
  rows.push([`${name}: under load`, ...cells(load.milliseconds)]);
  const [before, after] = load.memory.map((mebibytes) => mebibytes.toFixed(0));
  lines.push(
    `${name} features: ${load.milliseconds.length} requests in ${SECONDS} s answered, ${load.failures} failed; memory of the server ${before} MiB after a sixth of them, ${after} MiB in the end.`,
  );
}
const text = `Milliseconds:

${markdownTable(['features: what', 'median', '99 %', 'most'], rows)}

Under load: ${REQUESTS_PER_SECOND} requests per second over ${PEOPLE} connections (features, lists, searches, the page's own files).

${lines.join('\n\n')}

\`npm run bench:features\`. ${circumstances()}`;
if (options.tiny) console.log(text);
else writeSection('explore', 'Feature pages', text);
