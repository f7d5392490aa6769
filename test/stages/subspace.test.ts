import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { writeManifest } from '../../src/activations/manifest.js';
import { allocateRows } from '../../src/activations/rows.js';
import { StoreWriter, Window } from '../../src/activations/store-writer.js';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { silent } from '../../src/progress/progress.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { trainingRecordOf } from '../../src/sae/training-record.js';
import { train } from '../../src/train/train.js';
import { context, emptyManifest } from '../activations/synthetic.js';
import { logged, refusedUsage } from '../cli/refused.js';
import { run } from '../cli/run-program.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { axesOf, rowsWithin } from '../train/low-rank.js';
import { assertResumes } from './resumes.js';

const [ROWS, D, RANK, D_SAE, PER] = [1600, 32, 8, 64, 4];
const never = { signal: undefined };
const root = temporaryDirectory();
const activations = join(root, 'store');
let counter = 0;

before(async () => {
  const manifest = emptyManifest(ROWS, { d_in: D, rows_per_shard: 400 });
  mkdirSync(activations);
  await writeManifest(activations, manifest);
  const window = new Window(0, D, 'float32');
  const rows = allocateRows(ROWS, D, 'float32');
  rows.activation.set(rowsWithin({ rows: ROWS, d: D, rank: RANK, seed: 1 }));
  for (let row = 0; row < ROWS; row++) {
    rows.context[row] = Math.floor(row / PER);
    rows.pos[row] = 1 + (row % PER);
    rows.token[row] = context(rows.context[row]!).tokens[rows.pos[row]!]!;
  }
  for (let i = 0; i < ROWS / PER; i++) window.contexts.push(context(i));
  window.add(rows, new Float32Array(ROWS).fill(1));
  await new StoreWriter(activations, manifest).writeWindow(window);
});

const configured = (more: Partial<TrainConfig> & { k?: number } = {}): TrainConfig =>
  trainSchema.parse({
    ...{ activations, dSae: D_SAE, initSubspace: 'auto', normalize: 'mean-norm' },
    ...{ steps: 12, batch: 128, lr: 1e-3, logEvery: 4, out: join(root, `out-${counter++}`), ...more },
  });

const recordOf = (directory: string) =>
  trainingRecordOf(JSON.parse(readFileSync(join(directory, 'cfg.json'), 'utf8')) as Record<string, unknown>);

/** Share of the squares of W_dec that lies within the directions that activations fill. */
async function shareWithin(directory: string): Promise<number> {
  const W = (await readSae(await openSae(directory))).parameters.W_dec!;
  const axes = axesOf(D, RANK);
  let squares = 0;
  for (let at = 0; at < W.length; at += D) {
    for (const axis of axes) squares += axis.reduce((sum, value, i) => sum + value * W[at + i]!, 0) ** 2;
  }
  return squares / D_SAE;
}

for (const more of [{ arch: 'gated' }, { arch: 'topk', k: 4, normalize: 'per-dimension' }] as const) {
  test(`${more.arch}: a run that starts within the directions of its activations is resumed to the same bytes`, async () => {
    const whole = await train(configured(more), silent, never);
    const { subspace, init_subspace } = recordOf(whole);
    assert.deepEqual({ subspace, init_subspace }, { subspace: { input: RANK }, init_subspace: 'auto' });
    // Raw coordinates of topk have rows of other norms.
    if (more.arch === 'gated') assert.ok((await shareWithin(whole)) > 0.999);
    await assertResumes(configured(more), whole, 5);
  });
}

test('without it, three quarters of every feature lie where no activation is; and both engines start alike', async () => {
  const plain = await train(configured({ initSubspace: 'none', steps: 1 }), silent, never);
  assert.ok(Math.abs((await shareWithin(plain)) - RANK / D) < 0.05);
  assert.equal(recordOf(plain).subspace, undefined);
  const weights = async (engine: 'reference' | 'sparse') =>
    (await readSae(await openSae(await train(configured({ engine, steps: 1 }), silent, never)))).parameters.W_dec!;
  const [one, other] = [await weights('reference'), await weights('sparse')];
  for (const [at, value] of one.entries()) assert.ok(Math.abs(value - other[at]!) < 1e-5);
});

test('what does not go with it is refused, and a run keeps it', async () => {
  const out = await train(configured({ initSubspace: '5', steps: 2 }), silent, never);
  assert.deepEqual(recordOf(out).subspace, { input: 5 });
  await refuses(
    () => train(configured({ out, steps: 2, initSubspace: 'none', resume: true }), silent, never),
    'train/other-settings',
  );
  await refusesUsage(() => train(configured({ init: out }), silent, never), 'train/subspace', '--init');
  await refusesUsage(() => train(configured({ initSubspace: '33' }), silent, never), 'train/subspace', '32');
  const flags = ['--activations', activations, '--arch', 'gated', '--d-sae', '8', '--out', join(root, 'cli')];
  refusedUsage(await run(...logged(['train', ...flags, '--init-subspace', '33'])), 'train/subspace', '33');
});
