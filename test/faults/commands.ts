import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Outcome, run } from '../cli/run-program.js';
import { fixture } from '../fixtures.js';
import { filesBelow } from '../temporary.js';

export const HOOK = 'blocks.1.hook_mlp_out';
const MODEL = ['--model', 'assets/tiny-gemma', '--corpus', 'assets/corpus/validation.jsonl.gz'];

const words = (flags: object) => Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]);

/** A small harvest: three windows, fourteen shards. */
export const harvestWords = (out: string, tokens = 3000) => [
  ...['harvest', ...MODEL, '--hook', HOOK, ...words({ tokens, context: 128, batch: 4 })],
  ...words({ 'window-rows': 1000, 'rows-per-shard': 250, out }),
];

const TRAINING = {
  ...{ 'd-sae': 200, batch: 64, steps: 40, lr: 1e-3, l1: 4, threads: 1 },
  ...{ 'log-every': 5, 'checkpoint-every': 9 },
};

/** A small training with checkpoints, and with other flags; `activations` is a store's directory. */
export const trainWords = (activations: string, out: string, flags: object = {}) => [
  ...['train', '--discard-state'],
  ...words({ activations, ...TRAINING, ...flags, out }),
];

export const evalWords = (sae: string, out: string) => [
  ...['eval', '--sae', sae, ...MODEL, '--tokens', '500', '--out', out],
];

export const featuresWords = (sae: string, out: string) => [
  ...['features', '--sae', sae, ...MODEL, '--tokens', '500', '--out', out],
];

/** Runs a command that must succeed. */
export async function succeeds(args: readonly string[]): Promise<Outcome> {
  const outcome = await run(...args);
  assert.equal(outcome.code, 0, outcome.stderr);
  return outcome;
}

/** What the commands above make with their own flags, one from the other. */
export interface Made {
  readonly acts: string;
  readonly store: string;
  readonly sae: string;
  readonly evaluated: string;
}

const placesIn = (directory: string): Made => {
  const at = (name: string) => join(directory, name);
  return { acts: at('acts'), store: join(at('acts'), HOOK), sae: at('sae'), evaluated: at('evaluated') };
};

/** Made once for all test files, which leave it as it is. */
export async function made(): Promise<Made> {
  const directory = await fixture('made', async (own) => {
    const { acts, store, sae, evaluated } = placesIn(own);
    await succeeds(harvestWords(acts));
    await succeeds(trainWords(store, sae));
    await succeeds(evalWords(sae, evaluated));
  });
  return placesIn(directory);
}

/** A copy of it, to be changed. */
export async function copyOfMade(directory: string): Promise<Made> {
  const { acts } = await made();
  cpSync(dirname(acts), directory, { recursive: true });
  return placesIn(directory);
}

/** Every file below a directory, which need not be there; of curves the speed, which no two runs share, left out. */
export function resultsBelow(directory: string): Map<string, string> {
  if (!existsSync(directory)) return new Map();
  return new Map(
    [...filesBelow(directory)].map(([name, bytes]) => [
      name,
      name.endsWith('.jsonl')
        ? bytes.toString('utf8').replace(/,"tokens_per_second":\d+/g, '')
        : bytes.toString('latin1'),
    ]),
  );
}

/** The manifest's journal, whose name is another each time. */
const JOURNAL = /^journal-[0-9a-f]{16}\.log$/;

/** Files that change during work: their contents must be complete all the same. */
const GROWING: Readonly<Record<string, (text: string) => unknown>> = {
  'manifest.json': JSON.parse,
  'run.json': JSON.parse,
  'metrics.jsonl': (text) => {
    assert.ok(text === '' || text.endsWith('\n'), 'a torn line');
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  },
};

/** Nothing aside, and each file either grows and is whole, or has the bytes that it has in `whole`. */
export function nothingHalfWritten(
  directory: string,
  whole: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string> = resultsBelow(directory),
): void {
  for (const [name, text] of found) {
    assert.doesNotMatch(name, /\.tmp$/);
    const read = GROWING[basename(name)];
    if (JOURNAL.test(basename(name))) assert.match(text, /^([0-9a-f]{64} \{.*\}\n)+$/, name);
    else if (read) read(readFileSync(join(directory, name), 'utf8'));
    else if (!/(checkpoint|statistics)-\d+\.safetensors$/.test(name))
      assert.equal(text === whole.get(name), true, name);
  }
}
