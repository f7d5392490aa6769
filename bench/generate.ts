/**
 * Tokens per second of generation against transformers' generate: same model, prompts, threads and precision (float32),
 * greedily; rounds of both in turn.
 *
 *     npm run bench:generate                  -- --tiny: a model of three small blocks, to see that it runs; writes no page
 *     npm run bench:generate -- --model DIR   another model, prints a table and writes no page; --texts 1,4 --rounds 3 --new 64
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Refusal } from '../src/errors/refusal.js';
import { continueTexts } from '../src/generate/continuation.js';
import { tokenChooser } from '../src/generate/sampling.js';
import { Stepper } from '../src/generate/stepper.js';
import { openCheckpoint } from '../src/lm/checkpoint.js';
import { Generator } from '../src/random/generator.js';
import { markdownTable } from './markdown.js';
import { Peer } from './peer.js';
import { benchPython, command } from './python.js';
import { circumstances, spread, writeSection } from './section.js';

const THREADS = 2;
const BOS = 2;

const { values: options } = parseArgs({
  options: {
    tiny: { type: 'boolean', default: false },
    model: { type: 'string' },
    texts: { type: 'string', default: '1,8' },
    rounds: { type: 'string' },
    new: { type: 'string' },
  },
});
const ROUNDS = Number(options.rounds ?? (options.tiny ? 2 : 7));
const [PROMPT, USUAL] = options.tiny ? [8, 16] : [64, 128];
const NEW = Number(options.new ?? USUAL);

/** Tokens per second of a round, of all texts together: ours and theirs. */
type Rates = readonly [ours: number, theirs: number];

async function measure(python: string, model: string, texts: number): Promise<{ rates: Rates[]; versions: object }> {
  const checkpoint = await openCheckpoint(model);
  const random = new Generator(0, 0, 0);
  const prompts = Array.from({ length: texts }, () =>
    Array.from({ length: PROMPT }, (_, t) => (t === 0 ? BOS : 3 + random.below(checkpoint.config.vocabulary - 3))),
  );
  const placement = { device: 'cpu', precision: 'float32' } as const;
  const stepper = await Stepper.open(checkpoint, { placement, longest: PROMPT + NEW, threads: THREADS });
  const choose = tokenChooser({ temperature: 0, seed: 0 }, 0);
  const notFinite = new Refusal('The logits are not finite.', undefined, 'generate/not-finite');
  const ours = async () => {
    const start = performance.now();
    const continued = await continueTexts(
      stepper,
      prompts.map((tokens) => ({ tokens, choose, notFinite })),
      { most: NEW, ends: new Set(), stops: [], bytes: () => new Uint8Array(0), stop: { signal: undefined } },
    );
    return { seconds: (performance.now() - start) / 1000, ids: continued.map(({ ids }) => ids) };
  };
  const peer = new Peer(python, ['bench/peers/generate.py', model, String(THREADS)]);
  const versions = await peer.answer<object>();
  const theirs = () => peer.ask<{ seconds: number; ids: number[][] }>({ tokens: prompts, new: NEW });
  // The first run of each warms it up, and shows that both say the same.
  if (JSON.stringify((await ours()).ids) !== JSON.stringify((await theirs()).ids)) throw new Error('texts differ');
  const rates: Rates[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const [own, other] = [await ours(), await theirs()];
    rates.push([(texts * NEW) / own.seconds, (texts * NEW) / other.seconds]);
  }
  peer.end();
  await stepper.release();
  return { rates, versions };
}

function row(label: string, rates: readonly Rates[]): string[] {
  const format = (values: readonly number[], digits: number) => {
    const { median, least, most } = spread(values);
    return `${median.toFixed(digits)} (${least.toFixed(digits)} to ${most.toFixed(digits)})`;
  };
  const [ours, theirs] = [rates.map(([own]) => own), rates.map(([, other]) => other)];
  return [
    label,
    format(ours, 0),
    format(theirs, 0),
    format(
      rates.map(([own, other]) => own / other),
      2,
    ),
  ];
}

const python = benchPython('bench/peers/requirements-harvest.txt');
const directory = mkdtempSync(join(tmpdir(), 'sae-pipe-bench-'));
try {
  const random = join(directory, 'random');
  if (!options.model) command(python, ['bench/peers/eval.py', 'make', random, ...(options.tiny ? ['--tiny'] : [])]);
  const models = options.model
    ? [[basename(options.model), options.model] as const]
    : options.tiny
      ? [['random Gemma of 3 × 32', random] as const]
      : [['random Gemma of 12 × 512', random] as const, ['tiny-gemma', 'assets/tiny-gemma'] as const];
  const rows: string[][] = [];
  let versions: object = {};
  for (const [label, model] of models) {
    for (const texts of options.texts.split(',').map(Number)) {
      const measured = await measure(python, model, texts);
      versions = measured.versions;
      rows.push(row(`${label}, ${texts === 1 ? '1 text' : `${texts} texts`}`, measured.rates));
    }
  }
  const text = [
    `Prompts of ${PROMPT} tokens and ${NEW} after each, greedily, float32 on ${THREADS} threads; tokens per second of all texts together, prompts included in the time. Median of ${ROUNDS} rounds taken in turn (least to most). \`npm run bench:generate\`.`,
    '',
    markdownTable(['', 'sae-pipe', 'transformers', 'ours / theirs'], rows),
    '',
    `${circumstances()}; ${Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}.`,
  ].join('\n');
  // Figures of the page are those of the usual settings.
  const whole = !options.tiny && !options.model && options.texts === '1,8' && !options.rounds && !options.new;
  if (!whole) console.log(text);
  else writeSection('generate', 'Generation', text);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
