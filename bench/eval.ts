/**
 * Time of an evaluation in one pass against the model's forward pass with loss alone, and against three separate
 * forward passes of transformers with hooks: same model, SAE, tokens, threads and precision (float32), rounds of all in
 * turn.
 *
 *     npm run bench:eval                 -- --tiny: a model of three small blocks, to see that it runs; writes no page
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openSpliceIn } from '../src/eval/splice-in.js';
import { openCheckpoint } from '../src/lm/checkpoint.js';
import { findHook } from '../src/lm/hooks.js';
import { Generator } from '../src/random/generator.js';
import { initialise } from '../src/sae/registry.js';
import { square } from '../src/sae/sae.js';
import { openSae, type SaeFiles, saveSae } from '../src/sae/saelens.js';
import { openCleanForward } from './clean-forward.js';
import { markdownTable } from './markdown.js';
import { Peer } from './peer.js';
import { benchPython, command } from './python.js';
import { circumstances, spread, writeSection } from './section.js';

const PEER = 'bench/peers/eval.py';
const THREADS = 2;
const BOS = 2;
const ALL = Number.POSITIVE_INFINITY;
/** SAEs side by side, at most. */
const SAES = 5;

const { values: options } = parseArgs({ options: { tiny: { type: 'boolean', default: false } } });
const ROUNDS = options.tiny ? 2 : 7;
/** Approximate duration of a round of each, in seconds. */
const ROUND_SECONDS = options.tiny ? 0.01 : 1.5;

interface Case {
  readonly label: string;
  readonly model: string;
  /** SAEs are spliced in after this block. */
  readonly layer: number;
  readonly dSae: number;
  readonly context: number;
  readonly batch: number;
}

interface Losses {
  readonly clean: number;
  readonly spliced?: number;
  readonly zero?: number;
}

/** What is timed: seconds of a number of batches, and the losses of one. */
interface Contender {
  readonly label: string;
  time(batches: number): Promise<Losses & { seconds: number }>;
}

async function randomSaes(directory: string, dIn: number, dSae: number): Promise<SaeFiles[]> {
  return Promise.all(
    Array.from({ length: SAES }, async (_, k) => {
      const path = join(directory, `sae-${k}`);
      mkdirSync(path, { recursive: true });
      await saveSae(path, initialise('gated', square(dIn, dSae), k), {});
      return openSae(path);
    }),
  );
}

function timed(label: string, run: () => Promise<Losses>): Contender {
  const time = async (batches: number) => {
    const start = performance.now();
    let losses = await run();
    for (let i = 1; i < batches; i++) losses = await run();
    return { ...losses, seconds: (performance.now() - start) / 1000 };
  };
  return { label, time };
}

async function measure(python: string, directory: string, test: Case) {
  const { model, layer, dSae, context, batch } = test;
  const checkpoint = await openCheckpoint(model);
  const { hidden, vocabulary } = checkpoint.config;
  const hook = findHook(`blocks.${layer}.hook_resid_post`, checkpoint.config);
  const saes = await randomSaes(join(directory, `saes-${dSae}`), hidden, dSae);
  const random = new Generator(0, 0, 0);
  const tokens = Array.from({ length: batch }, () =>
    Array.from({ length: context }, (_, t) => (t === 0 ? BOS : 3 + random.below(vocabulary - 3))),
  );
  const contexts = tokens.map((row, index) => {
    return { index, tokens: Int32Array.from(row), documents: new Uint32Array(context) };
  });

  const forward = await openCleanForward(checkpoint, context, THREADS);
  const spliceIns = await Promise.all(
    [1, SAES].map((count) => openSpliceIn(checkpoint, hook, saes.slice(0, count), context, { threads: THREADS })),
  );
  for (const spliceIn of spliceIns) await spliceIn.addToMean(contexts, BOS, ALL);
  const onePass = (k: number) => async () => {
    await spliceIns[k]!.add(contexts, BOS, ALL);
    return { clean: Number.NaN };
  };
  const peer = new Peer(python, [PEER, 'run', model, String(layer), saes[0]!.directory, String(THREADS)]);
  const versions = await peer.answer<Record<string, string>>();
  const theirs = (label: string, what: 'clean' | 'three'): Contender => ({
    label,
    time: (batches) => peer.ask({ tokens, batches, what }),
  });
  const contenders = [
    timed('sae-pipe: forward with loss', async () => ({ clean: await forward.run(contexts, BOS) })),
    timed('sae-pipe: one pass, 1 SAE', onePass(0)),
    timed(`sae-pipe: one pass, ${SAES} SAEs`, onePass(1)),
    theirs('transformers: forward with loss', 'clean'),
    theirs('transformers: three forwards, 1 SAE', 'three'),
  ];

  // The first run of each warms it up, and shows that all compute the same.
  const first: Losses[] = [];
  for (const contender of contenders) first.push(await contender.time(1));
  const peerLosses = first[4]!;
  for (const spliceIn of spliceIns) {
    const { ce_clean, ce_spliced, ce_zero } = spliceIn.metrics()[0]!;
    agree(test.label, [ce_clean, ce_spliced, ce_zero], [peerLosses.clean, peerLosses.spliced!, peerLosses.zero!]);
  }
  agree(test.label, [first[0]!.clean], [first[3]!.clean]);

  const batches: number[] = [];
  for (const contender of contenders) {
    batches.push(Math.max(1, Math.round(ROUND_SECONDS / (await contender.time(1)).seconds)));
  }
  const milliseconds: number[][] = contenders.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, contender] of contenders.entries()) {
      milliseconds[i]!.push((1000 * (await contender.time(batches[i]!)).seconds) / batches[i]!);
    }
  }
  peer.end();
  await forward.release();
  for (const spliceIn of spliceIns) await spliceIn.release();
  return { labels: contenders.map(({ label }) => label), milliseconds, versions };
}

function agree(label: string, ours: readonly number[], theirs: readonly number[]): void {
  for (const [i, loss] of ours.entries()) {
    if (!(Math.abs(loss / theirs[i]! - 1) < 1e-3)) throw new Error(`${label}: losses ${ours}, and ${theirs}`);
  }
}

/** Each contender against our forward with loss of the same round. */
function table({ labels, milliseconds }: Awaited<ReturnType<typeof measure>>): string {
  const format = (values: readonly number[], digits: number) => {
    const { median, least, most } = spread(values);
    return `${median.toFixed(digits)} (${least.toFixed(digits)} to ${most.toFixed(digits)})`;
  };
  const rows = labels.map((label, i) => {
    const ratios = milliseconds[i]!.map((ms, round) => ms / milliseconds[0]![round]!);
    return [label, format(milliseconds[i]!, 0), format(ratios, 2)];
  });
  return markdownTable(['', 'ms a batch', 'times our forward with loss'], rows);
}

const python = benchPython('bench/peers/requirements-harvest.txt');
const directory = mkdtempSync(join(tmpdir(), 'sae-pipe-bench-'));
try {
  const random = join(directory, 'random');
  command(python, [PEER, 'make', random, ...(options.tiny ? ['--tiny'] : [])]);
  const proportioned: Case = {
    label: 'Random Gemma of 12 × 512, SAEs of 8192 after block 7 (8 of 12), 2 contexts of 512',
    model: random,
    layer: 7,
    dSae: 8192,
    context: 512,
    batch: 2,
  };
  const bundled: Case = {
    label: 'tiny-gemma, SAEs of 1536 after block 2 (3 of 4), 8 contexts of 256',
    model: 'assets/tiny-gemma',
    layer: 2,
    dSae: 1536,
    context: 256,
    batch: 8,
  };
  const small: Case = {
    label: 'Random Gemma of 3 × 32',
    model: random,
    layer: 1,
    dSae: 64,
    context: 32,
    batch: 2,
  };
  const parts: string[] = [];
  let versions: Record<string, string> = {};
  for (const test of options.tiny ? [small] : [proportioned, bundled]) {
    const measured = await measure(python, directory, test);
    versions = measured.versions;
    parts.push(`**${test.label}**`, '', table(measured), '');
  }
  const text = [
    `Float32 on ${THREADS} threads, median of ${ROUNDS} rounds taken in turn (least to most). \`npm run bench:eval\`.`,
    '',
    ...parts,
    `${circumstances()}, PyTorch ${versions.torch}, transformers ${versions.transformers}.`,
  ];
  const page = options.tiny ? join(directory, 'benchmarks.md') : 'docs/explanation/benchmarks.md';
  writeSection('eval', 'Evaluation in one pass', text.join('\n'), page);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
