/**
 * How much of a harvest's time is the model's, when the text is Parquet of a hub whose storage answers every request
 * 30 ms late: the rest is waiting for text. No text is read ahead beforehand, as where training runs the model itself.
 *
 *     npm run bench:hub-latency
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { gunzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { harvestSchema } from '../src/config/stages/harvest.js';
import { batches } from '../src/corpus/contexts.js';
import { openForwardPass } from '../src/harvest/forward-pass.js';
import { leftOutOf, planHarvest } from '../src/harvest/harvest-plan.js';
import { FakeDatasets } from '../test/corpus/fake-datasets.js';
import { markdownTable } from './markdown.js';
import { circumstances, spread, writeSection } from './section.js';

const LATENCIES = [0, 30, 100] as const;
const ROUNDS = 3;
const MODEL = 'assets/tiny-gemma';
const HOOK = 'blocks.3.hook_resid_post';
const TOKENS = 150_000;
const FILES = 4;
/** Rows of a row group: about 300 KB of text. */
const ROW_GROUP = 100;

/** The bundled text as files of Parquet, with another column between. */
function files(): Map<string, Buffer> {
  const lines = gunzipSync(readFileSync('assets/corpus/train.jsonl.gz')).toString('utf8').trim().split('\n');
  const texts = lines.map((line) => (JSON.parse(line) as { text: string }).text);
  const share = Math.ceil(texts.length / FILES);
  const file = (i: number): [string, Buffer] => {
    const data = texts.slice(i * share, (i + 1) * share);
    const columnData = [
      { name: 'id', data: data.map((_, row) => row) },
      { name: 'text', data },
    ];
    return [`data/train-${i}.parquet`, Buffer.from(parquetWriteBuffer({ columnData, rowGroupSize: ROW_GROUP }))];
  };
  return new Map(Array.from({ length: FILES }, (_, i) => file(i)));
}

/** The hub in a separate thread: a forward pass lets nothing else run in this one. */
async function serve(): Promise<void> {
  const hub = await FakeDatasets.start({ after: () => {} }, { 'us/texts': { files: files() } });
  parentPort!.on('message', (latency: number) => {
    const requests = hub.bytes.length;
    hub.bytes.length = 0;
    hub.faults = { latency };
    parentPort!.postMessage({ requests });
  });
  parentPort!.postMessage({ endpoint: hub.endpoint });
}

interface Round {
  readonly seconds: number;
  /** Share of them in which the model runs, from the first request on and from the first context on. */
  readonly share: number;
  readonly shareOnceBegun: number;
}

async function harvested(out: string): Promise<Round> {
  const corpus = 'hf:us/texts';
  const config = harvestSchema.parse({ model: MODEL, corpus, hook: [HOOK], tokens: TOKENS, context: 256, out });
  const plan = await planHarvest(config, MODEL);
  const pass = await openForwardPass(plan.checkpoint, plan.hooks, plan.context, plan.config);
  const leftOut = leftOutOf(plan.manifests[0]!);
  let [rows, model, first] = [0, 0, 0];
  const begun = performance.now();
  for await (const group of batches(plan.text.contexts(), config.batch)) {
    first ||= performance.now() - begun;
    const start = performance.now();
    for (let i = 0; i < group.length; i += pass.contexts) {
      rows += (await pass.run(group.slice(i, i + pass.contexts), leftOut, Number.POSITIVE_INFINITY)).count;
    }
    model += performance.now() - start;
    if (rows >= TOKENS) break;
  }
  const whole = performance.now() - begun;
  await plan.text.close({ say() {} });
  await pass.release();
  return { seconds: whole / 1000, share: model / whole, shareOnceBegun: model / (whole - first) };
}

async function main(): Promise<void> {
  const worker = new Worker(new URL(import.meta.url));
  const answer = () =>
    new Promise<{ endpoint: string; requests: number }>((resolve) => worker.once('message', resolve));
  const directory = mkdtempSync(join(tmpdir(), 'sae-pipe-bench-'));
  process.env.HF_ENDPOINT = (await answer()).endpoint;
  process.env.HF_HOME = directory;
  const rounds = new Map(LATENCIES.map((latency) => [latency, [] as Round[]]));
  try {
    await harvested(directory);
    for (let i = 0; i < ROUNDS * LATENCIES.length; i++) {
      const latency = LATENCIES[i % LATENCIES.length]!;
      worker.postMessage(latency);
      await answer();
      rounds.get(latency)!.push(await harvested(directory));
    }
  } finally {
    rmSync(directory, { recursive: true });
    await worker.terminate();
  }
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const rows = LATENCIES.map((latency) => {
    const all = rounds.get(latency)!;
    const column = (key: keyof Round) => spread(all.map((round) => round[key]));
    const shown = ({ median, least }: { median: number; least: number }) => `${percent(median)} (${percent(least)})`;
    const { median } = column('seconds');
    return [
      `${latency} ms`,
      `${(TOKENS / median / 1000).toFixed(1)}k`,
      shown(column('share')),
      shown(column('shareOnceBegun')),
    ];
  });
  const table = markdownTable(
    ['delay of each answer', 'tokens per second', "the model's share of the time", 'from the first context on'],
    rows,
  );
  const about = `\`npm run bench:hub-latency\`: ${HOOK} of the bundled model over \`hf:\` Parquet, ${TOKENS} tokens, ${FILES} files with row groups of ${ROW_GROUP} documents, from a server on this machine. Median of ${ROUNDS} rounds, the least in brackets. ${circumstances()}.`;
  writeSection('hub-latency', 'Hub text with latency', `${about}\n\n${table}`);
}

await (isMainThread ? main() : serve());
