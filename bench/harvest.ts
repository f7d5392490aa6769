/**
 * Tokens per second of a harvest's forward pass against transformers with a forward hook at the same site: same model,
 * tokens, threads and precision (float32), rounds of the two taken in turn.
 *
 *     npm run bench:harvest
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openForwardPass } from '../src/harvest/forward-pass.js';
import { openCheckpoint } from '../src/lm/checkpoint.js';
import { findHook } from '../src/lm/hooks.js';
import { Generator } from '../src/random/generator.js';
import { Peer } from './peer.js';
import { benchPython, command } from './python.js';
import { circumstances, spread, writeSection } from './section.js';

const PEER = 'bench/peers/harvest.py';
const THREADS = 2;
const ROUNDS = 7;
/** Approximate duration of a round of either, in seconds. */
const ROUND_SECONDS = 1.5;
const BOS = 2;

interface Case {
  readonly label: string;
  readonly model: string;
  readonly layer: number;
  /** How transformers computes attention: sdpa, its default, knows no soft-caps. */
  readonly attention: 'sdpa' | 'eager';
  readonly context: number;
  readonly batch: number;
}

interface Result {
  readonly ours: number[];
  readonly peers: number[];
}

async function compare(python: string, test: Case): Promise<{ result: Result; versions: Record<string, string> }> {
  const { model, layer, attention, context, batch } = test;
  const checkpoint = await openCheckpoint(model);
  const hook = findHook(`blocks.${layer}.hook_resid_post`, checkpoint.config);
  const random = new Generator(0, 0, 0);
  const tokens = Array.from({ length: batch }, () =>
    Array.from({ length: context }, (_, t) => (t === 0 ? BOS : 3 + random.below(checkpoint.config.vocabulary - 3))),
  );
  const contexts = tokens.map((row, index) => ({
    index,
    tokens: Int32Array.from(row),
    documents: new Uint32Array(context),
  }));
  const settings = { dtype: 'float16', device: 'cpu', precision: 'float32', threads: THREADS } as const;
  const pass = await openForwardPass(checkpoint, [hook], context, settings);
  const peer = new Peer(python, [PEER, 'run', model, String(layer), attention, String(THREADS)]);
  const versions = await peer.answer<Record<string, string>>();
  const theirs = (batches: number) => peer.ask<{ seconds: number; norm: number }>({ tokens, batches });
  const ourSeconds = async (batches: number) => {
    const start = performance.now();
    for (let i = 0; i < batches; i++) await pass.run(contexts, BOS, Number.POSITIVE_INFINITY);
    return (performance.now() - start) / 1000;
  };

  // The first run of each warms it up, and shows that both compute the same.
  const { norms } = await pass.run(contexts, BOS, Number.POSITIVE_INFINITY);
  const ourNorm = norms[0]!.reduce((sum, x) => sum + x, 0) / norms[0]!.length;
  const peerNorm = (await theirs(1)).norm;
  if (!(Math.abs(ourNorm / peerNorm - 1) < 1e-3)) throw new Error(`${test.label}: mean |x| ${ourNorm}, ${peerNorm}`);

  const batchesFor = (seconds: number) => Math.max(1, Math.round(ROUND_SECONDS / seconds));
  const ourBatches = batchesFor(await ourSeconds(1));
  const peerBatches = batchesFor((await theirs(1)).seconds);
  const result: Result = { ours: [], peers: [] };
  for (let round = 0; round < ROUNDS; round++) {
    result.ours.push((ourBatches * batch * context) / (await ourSeconds(ourBatches)));
    result.peers.push((peerBatches * batch * context) / (await theirs(peerBatches)).seconds);
  }
  peer.end();
  await pass.release();
  return { result, versions };
}

function row({ label, attention }: Case, { ours, peers }: Result): string {
  const [a, b] = [spread(ours), spread(peers)];
  const ratio = spread(ours.map((rate, i) => rate / peers[i]!));
  const rate = ({ median, least, most }: typeof a) =>
    `${Math.round(median)} (${Math.round(least)} to ${Math.round(most)})`;
  const times = `${ratio.median.toFixed(2)} (${ratio.least.toFixed(2)} to ${ratio.most.toFixed(2)})`;
  return `| ${label} | ${attention} | ${rate(a)} | ${rate(b)} | ${times} |`;
}

async function main(): Promise<void> {
  const python = benchPython('bench/peers/requirements-harvest.txt');
  const directory = mkdtempSync(join(tmpdir(), 'sae-pipe-bench-'));
  try {
    const made = (kind: string) => {
      const model = join(directory, kind);
      command(python, [PEER, 'make', model, kind]);
      return model;
    };
    const [capped, uncapped] = [made('gemma2'), made('gemma2-uncapped')];
    const [pythia, llama] = [made('pythia-160m'), made('llama')];
    const large = { context: 1024, batch: 2 } as const;
    const cases: Case[] = [
      {
        label: 'tiny-gemma, last block',
        model: 'assets/tiny-gemma',
        layer: 3,
        attention: 'sdpa',
        context: 256,
        batch: 16,
      },
      { label: 'Gemma 2 of 8 × 512, last block', model: capped, layer: 7, attention: 'eager', ...large },
      { label: 'the same without soft-caps, last block', model: uncapped, layer: 7, attention: 'sdpa', ...large },
      { label: 'without soft-caps, block 5: ours ends there', model: uncapped, layer: 5, attention: 'sdpa', ...large },
      { label: 'with soft-caps, block 3: ours ends there', model: capped, layer: 3, attention: 'eager', ...large },
      { label: 'Pythia 160M, last block', model: pythia, layer: 11, attention: 'sdpa', ...large },
      { label: 'Pythia 160M, block 6: ours ends there', model: pythia, layer: 6, attention: 'sdpa', ...large },
      { label: 'Llama of 12 × 768, last block', model: llama, layer: 11, attention: 'sdpa', ...large },
      { label: 'Llama of 12 × 768, block 6: ours ends there', model: llama, layer: 6, attention: 'sdpa', ...large },
    ];
    const rows: string[] = [];
    let versions: Record<string, string> = {};
    for (const test of cases) {
      const compared = await compare(python, test);
      versions = compared.versions;
      rows.push(row(test, compared.result));
    }
    const text = [
      `Tokens per second in float32 on ${THREADS} threads, median of ${ROUNDS} rounds taken in turn (least to most);`,
      'both keep `hook_resid_post` of all positions but BOS as float16 rows, and neither unembeds. `npm run bench:harvest`.',
      '',
      '| model and site | transformers attention | sae-pipe | transformers | ratio |',
      '|---|---|---|---|---|',
      ...rows,
      '',
      `${circumstances()}, PyTorch ${versions.torch}, transformers ${versions.transformers}.`,
    ];
    writeSection('harvest', 'Harvest', text.join('\n'));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

await main();
