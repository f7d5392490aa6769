// npm run bench:constant-vector: does training give the same result if activations have a mean as long as a real model's,
// or a few of them are very long, and does it matter from where on those are left out? Rows of the bundled model,
// changed; the defaults, next to what other programs begin with.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { harvestSchema } from '../src/config/stages/harvest.js';
import { type TrainConfig, trainSchema } from '../src/config/stages/train.js';
import { harvest } from '../src/harvest/harvest.js';
import { silent } from '../src/progress/progress.js';
import { trainable } from '../src/sae/registry.js';
import { train } from '../src/train/train.js';
import { type Change, changedActivations, figures } from '../test/train/changed-activations.js';
import { markdownTable } from './markdown.js';
import { circumstances, writeSection } from './section.js';

const HOOK = 'blocks.2.hook_resid_post';
const [ROWS, TRIED, D_SAE] = [8000, 1900, 256];
const root = 'runs/constant-vector';
const never = { signal: undefined };

const CHANGES: Record<string, Change> = {
  'γ 0': {},
  'γ 3': { gamma: 3 },
  'γ 6': { gamma: 6 },
  'γ 30': { gamma: 30 },
  // Numbers 1999, 3999, …: after those that are tried.
  '0.05 % × 12': { long: 5e-4 },
};
const STARTS: Record<string, Partial<TrainConfig>> = {
  defaults: {},
  'mean-norm, b_dec 0': { normalize: 'mean-norm', bDecInit: 'zero', maxActivationNormMultiple: 0 },
};

/** Changes, and --max-activation-norm-multiple next to the defaults. */
const LIMITED = [
  ['γ 0', 0],
  ['γ 0', 4],
  ...[0, 10, 6, 4].map((multiple) => ['0.05 % × 12', multiple] as const),
] as const;

type Arch = (typeof trainable)[number];

async function cell(arch: Arch, start: Partial<TrainConfig>, change: string): Promise<string> {
  const sizes = arch === 'matryoshka' ? { k: 16, prefixes: [64, D_SAE] } : arch.endsWith('topk') ? { k: 16 } : {};
  const [activations, out] = [join(root, change), join(root, 'sae')];
  const config = trainSchema.parse({
    ...{ activations, arch, dSae: D_SAE, steps: 120, batch: 256, lr: 2e-3, ...sizes, ...start },
    ...{ checkpointEvery: '0', discardState: true, overwrite: true, out },
  });
  await train(config, silent, never);
  const { explainedVariance, l0, dead } = await figures(out, activations, TRIED);
  return `${explainedVariance.toFixed(3)} / ${l0.toFixed(1)} / ${(100 * dead).toFixed(0)} %`;
}

mkdirSync(root, { recursive: true });
const source = { model: 'assets/tiny-gemma', corpus: ['assets/corpus/train.jsonl.gz'], hook: [HOOK], context: 256 };
await harvest(harvestSchema.parse({ ...source, tokens: ROWS, out: root, overwrite: true }), silent, never);
for (const [name, change] of Object.entries(CHANGES)) {
  rmSync(join(root, name), { recursive: true, force: true });
  changedActivations(join(root, HOOK), join(root, name), change);
}
const rows: string[][] = [];
for (const [name, start] of Object.entries(STARTS)) {
  for (const arch of trainable) {
    const cells: string[] = [];
    for (const change of Object.keys(CHANGES)) cells.push(await cell(arch, start, change));
    rows.push([arch, name, ...cells]);
    console.error(rows.at(-1)!.join(' | '));
  }
}
const text = `Rows of the bundled model's ${HOOK} with a constant vector of γ times the length of their spread added, or every two thousandth of them made 12 times as long; d_sae ${D_SAE}, 120 steps of 256. Single runs: explained variance / L0 / features that fire on none of ${TRIED} rows that are not long.`;
const table = markdownTable(['SAE', 'start', ...Object.keys(CHANGES)], rows);
writeSection(
  'constant-vector',
  'Constant vector',
  `${text}\n\n${table}\n\n${circumstances()}.`,
  'docs/explanation/training.md',
);

const limited: string[][] = [];
for (const arch of trainable) {
  const cells: string[] = [];
  for (const [change, multiple] of LIMITED) {
    cells.push(await cell(arch, { maxActivationNormMultiple: multiple }, change));
  }
  limited.push([arch, ...cells]);
  console.error(limited.at(-1)!.join(' | '));
}
const heads = LIMITED.map(
  ([change, multiple]) => `${change === 'γ 0' ? 'as they are' : change}, M ${multiple || 'none'}`,
);
writeSection(
  'norm-multiple',
  'Multiples of the median norm',
  `${markdownTable(['SAE', ...heads], limited)}\n\n${circumstances()}.`,
  'docs/explanation/activations.md',
);
