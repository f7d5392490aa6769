import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type TrainConfig, trainSchema } from '../../../../src/config/stages/train.js';
import { silent } from '../../../../src/progress/progress.js';
import { openSae, readSae } from '../../../../src/sae/saelens.js';
import { type EngineName, openEngine } from '../../../../src/train/engines/open.js';
import { openSource } from '../../../../src/train/train.js';
import { Trainer } from '../../../../src/train/trainer.js';
import { relativeDifference } from '../../../golden.js';
import { temporaryDirectory } from '../../../temporary.js';
import { curveOf, tinyActivations } from '../../tiny-activations.js';
import { withoutCompiler } from './compiler.js';
import { openOnCpu } from './open-on-cpu.js';

const root = temporaryDirectory();
const skip = withoutCompiler;
let activations: string;
let counter = 0;

before(async () => {
  if (!withoutCompiler) activations = await tinyActivations(root);
});

const configured = (more: Partial<TrainConfig> = {}): TrainConfig =>
  trainSchema.parse({
    activations,
    dSae: 130,
    steps: 24,
    batch: 40,
    lr: 1e-3,
    l1: 3,
    logEvery: 6,
    // As where dead features are resampled, so that both tests run the same kernels.
    deadWindow: 120,
    resampleInputs: 500,
    out: join(root, String(counter++)),
    ...more,
  });

const CUDA = { engine: 'cuda', device: 'cuda', experimental: true } as const;

/** Trains up to some step, where a checkpoint is left, or to the end. */
async function trainTo(config: TrainConfig, last = config.steps!): Promise<string[]> {
  const lines: string[] = [];
  const source = await openSource(config, silent, { signal: undefined });
  const batches = source.batches(config.order, config.seed);
  const open: typeof openEngine = (name: EngineName, settings, start, steps) =>
    name === 'cuda'
      ? openOnCpu({ ...settings, precision: 'float32' }, start, steps)
      : openEngine(name, settings, start, steps);
  const begin = (steps: number) => batches.seek(steps * config.batch);
  const trainer = await Trainer.open(
    config,
    { source, batches, begin },
    (line) => lines.push(line),
    { signal: undefined },
    open,
  );
  try {
    while (trainer!.steps < last) await trainer!.step(await batches.next(config.batch));
    await (last === config.steps ? trainer!.finish() : trainer!.save());
  } finally {
    await trainer?.close();
    await source.close();
  }
  return lines;
}

async function assertSameSae(a: string, b: string): Promise<void> {
  const [one, other] = await Promise.all([a, b].map(async (path) => readSae(await openSae(path))));
  for (const [name, values] of Object.entries(one!.parameters)) {
    const difference = relativeDifference(values, other!.parameters[name as 'W_enc']!);
    assert.ok(difference < 1e-4, `${name}: ${difference}`);
  }
}

/** `SAE_PIPE_LONG=1` takes both. */
const ARCHITECTURES = process.env.SAE_PIPE_LONG === '1' ? (['gated', 'standard'] as const) : (['gated'] as const);

for (const arch of ARCHITECTURES) {
  test(`dead features of a ${arch} SAE are resampled as with the sparse engine`, { skip }, async () => {
    const resampling = { arch, resampleAt: [18], resampleWarmup: 4, l1: 400, lr: 1e-2 };
    const [cuda, sparse] = [configured({ ...resampling, ...CUDA }), configured(resampling)];
    const [said, wanted] = [await trainTo(cuda), await trainTo(sparse)];
    const resampled = (lines: string[]) => lines.filter((line) => /^Step 18: \d+ of \d+ dead/.test(line));
    assert.equal(resampled(said).length, 1, said.join('\n'));
    assert.deepEqual(resampled(said), resampled(wanted));
    await assertSameSae(cuda.out, sparse.out);
    assert.equal(curveOf(cuda.out).at(-1)!.step, 24);
  });
}

test('a checkpoint of the CUDA engine is continued by the sparse engine, and the other way round', {
  skip,
}, async () => {
  const whole = configured();
  await trainTo(whole);
  for (const [first, second] of [
    [CUDA, { engine: 'sparse' }],
    [{ engine: 'sparse' }, CUDA],
  ] as const) {
    const config = configured(first);
    await trainTo(config, 11);
    await trainTo({ ...configured(second), out: config.out, resume: true });
    await assertSameSae(config.out, whole.out);
  }
});

test('a batchtopk SAE, with AuxK, is saved as the sparse engine saves it, and resumed to the same bytes', {
  skip: skip || (process.env.SAE_PIPE_LONG !== '1' && 'SAE_PIPE_LONG=1 compiles its kernels'),
}, async () => {
  // 100 activations without firing, two or three steps, are few enough for dead features.
  const batchtopk = { arch: 'batchtopk', k: 5, deadWindow: 100, l1: undefined, resampleInputs: undefined } as const;
  const [whole, halves] = [configured({ ...batchtopk, ...CUDA }), configured({ ...batchtopk, ...CUDA })];
  const sparse = configured(batchtopk);
  await trainTo(whole);
  await trainTo(sparse);
  assert.ok(curveOf(whole.out).some(({ aux }) => aux > 0));
  await assertSameSae(whole.out, sparse.out);
  await trainTo(halves, 11);
  await trainTo({ ...halves, resume: true });
  for (const file of ['sae_weights.safetensors', 'cfg.json']) {
    assert.deepEqual(readFileSync(join(halves.out, file)), readFileSync(join(whole.out, file)), file);
  }
});
