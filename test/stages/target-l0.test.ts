import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { openStoreSource } from '../../src/activations/store-source.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { type Progress, type StopRequest, silent } from '../../src/progress/progress.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { widen } from '../../src/safetensors/floats.js';
import { train } from '../../src/train/train.js';
import { temporaryDirectory } from '../temporary.js';
import { curveOf, tinyActivations } from '../train/tiny-activations.js';
import { assertResumes } from './resumes.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let activations: string;
let counter = 0;

before(async () => {
  activations = await tinyActivations(root, 'blocks.1.hook_mlp_out', 2000);
});

const configured = (more: Readonly<Record<string, unknown>> = {}) =>
  trainSchema.parse({
    ...{ activations, arch: 'standard', l0: 12, l1: 3, dSae: 200, steps: 400, batch: 64, lr: 5e-3, warmup: 15 },
    ...{ out: join(root, String(counter++)), logEvery: 10, threads: 1 },
    ...more,
  });

const recordOf = async (directory: string) =>
  (await openSae(directory)).metadata.sae_pipe as Readonly<Record<string, number>>;

for (const arch of ['standard', 'gated']) {
  test(`--l0 trains a ${arch} SAE to that L0, and cfg.json has the λ that does it`, async () => {
    const out = await train(configured({ arch }), silent, never);
    const curve = curveOf(out);
    const { l0, lambda, l1 } = await recordOf(out);
    assert.deepEqual([l0, l1], [12, 3]);
    assert.ok(Math.abs(curve.at(-1)!.l0 / 12 - 1) < 0.1, `L0 ${curve.at(-1)!.l0}`);
    assert.equal(curve[0]!.lambda, 3);
    assert.ok(lambda !== 3, `${lambda}`);
    for (const line of curve.filter(({ step }) => step > 370)) assert.equal(line.lambda, lambda);
    // Where λ stays, the curve does not repeat it.
    assert.ok(!('lambda' in curveOf(await train(configured({ arch, l0: undefined, steps: 10 }), silent, never))[0]!));
  });
}

for (const sparsityLoss of ['step', 'tanh', 'quadratic'] as const) {
  test(`--l0 trains a jumprelu SAE with the ${sparsityLoss} penalty to that L0`, async () => {
    const out = await train(configured({ arch: 'jumprelu', sparsityLoss, l1: undefined }), silent, never);
    const { l0, dead_fraction: dead } = curveOf(out).at(-1)!;
    assert.ok(Math.abs(l0 / 12 - 1) < 0.1, `L0 ${l0}`);
    assert.ok((dead ?? 0) < 0.1, `${dead}`);
    const { lambda, l1 } = await recordOf(out);
    assert.deepEqual([curveOf(out)[0]!.lambda, lambda !== l1], [l1, true]);
  });
}

test('θ begins where --threshold-init says', async () => {
  const config = configured({
    arch: 'jumprelu',
    l0: undefined,
    l1: 0,
    start: 'zero',
    thresholdInit: 0.7,
    steps: 1,
    lr: 1e-9,
    normalize: 'none',
  });
  const { parameters } = await readSae(await openSae(await train(config, silent, never)));
  assert.ok(parameters.threshold!.every((theta) => Math.abs(theta - 0.7) < 1e-6));
});

test('a run that adjusts λ is resumed to the same bytes', async () => {
  await assertResumes(configured({ checkpointEvery: '20' }), await train(configured(), silent, never), 150);
});

test('an L0 that was not reached causes a warning', async () => {
  const warned: unknown[] = [];
  const progress: Progress = {
    ...silent,
    tell: (kind, _line, more) => {
      if (kind === 'warning') warned.push((more as { kind: string }).kind);
    },
  };
  await train(configured({ l0: 150, steps: 30, lr: 1e-4 }), progress, never);
  assert.ok(warned.includes('off-target'), JSON.stringify(warned));
});

test('a target that means nothing or is out of reach is refused before anything is written', async () => {
  for (const [more, code] of [
    [{ arch: 'topk', k: 5, l1: undefined }, 'train/foreign-flag'],
    [{ l0: 200 }, 'train/l0'],
    [{ l1: 0 }, 'train/l0'],
    [{ l1Warmup: 250 }, 'train/l0'],
  ] as const) {
    const config = configured(more);
    await assert.rejects(train(config, silent, never), { code }, JSON.stringify(more));
    assert.ok(!existsSync(config.out));
  }
  for (const l0 of [0, -1]) assert.ok(!trainSchema.safeParse({ dSae: 8, out: 'x', l0 }).success);
});

test('--normalize unit-square brings activations to a mean square of 1, and requires a λ', async () => {
  const more = { l0: undefined, l1: 0.01, normalize: 'unit-square', steps: 2, lr: 1e-9 };
  const out = await train(configured(more), silent, never);
  const { activation_scale } = await recordOf(out);
  const raw = await recordOf(await train(configured({ ...more, normalize: 'none' }), silent, never));
  assert.equal(raw.activation_scale, 1);
  const source = await openStoreSource({ activations });
  const { x } = await source.batches('stored', 0).next(2000);
  const squares = widen(x, source.about.dtype).reduce((sum, value) => sum + value * value, 0) / 2000;
  await source.close();
  assert.ok(Math.abs(activation_scale! * Math.sqrt(squares) - 1) < 1e-3, `${activation_scale}`);
  for (const l0 of [undefined, 12]) {
    const config = configured({ ...more, l1: undefined, l0 });
    await assert.rejects(train(config, silent, never), { code: 'train/no-usual-l1' });
    assert.ok(!existsSync(config.out));
  }
});
