import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PARAMETERS } from '../../../src/sae/registry.js';
import { type ArchitectureName, parameterShape, square } from '../../../src/sae/sae.js';
import type { Engine, EngineSettings } from '../../../src/train/engines/engine.js';
import { openReferenceEngine } from '../../../src/train/engines/reference/engine.js';
import { openGolden, relativeDifference } from '../../golden.js';

const SHAPE = { dIn: 12, dSae: 40, batch: 32 };

function settings(architecture: ArchitectureName, beta1: number, more: Partial<EngineSettings> = {}): EngineSettings {
  return { architecture, ...SHAPE, batchDType: 'float32', scale: 1, beta1, beta2: 0.999, deadWindow: 96, ...more };
}

async function assertParameters(engine: Engine, golden: Awaited<ReturnType<typeof openGolden>>, when: string) {
  const sae = await engine.sae();
  for (const name of PARAMETERS[sae.architecture]) {
    const difference = relativeDifference(sae.parameters[name]!, await golden.doubles(`${when}/${name}`));
    assert.ok(difference < 2e-5, `${when}/${name}: ${difference}`);
  }
}

for (const architecture of ['gated', 'standard'] as const) {
  for (const beta1 of [0, 0.9]) {
    test(`ten ${architecture} steps with β1 = ${beta1} equal PyTorch autograd in float64`, async () => {
      const golden = await openGolden(`train-${architecture}-${beta1}`);
      const start = new Map<string, Float32Array>();
      for (const name of PARAMETERS[architecture]) start.set(name, await golden.floats(`init/${name}`));
      const engine = await openReferenceEngine(settings(architecture, beta1), start);
      const batches = await golden.floats('batches');
      const [lr, l1] = [await golden.doubles('lr'), await golden.doubles('l1')];
      const expected = Object.fromEntries(
        await Promise.all(
          (['mse', 'l1_term', 'aux', 'l0'] as const).map(async (name) => [name, await golden.doubles(name)] as const),
        ),
      );
      const size = SHAPE.batch * SHAPE.dIn;
      for (let t = 0; t < 10; t++) {
        const metrics = await engine.step({ x: batches.slice(t * size, (t + 1) * size) }, { lr: lr[t]!, l1: l1[t]! });
        // Adam hides a constant factor on the loss; its terms show it.
        for (const [name, value] of [
          ['mse', metrics.mse],
          ['l1_term', metrics.l1],
          ['aux', metrics.aux],
          ['l0', metrics.l0],
        ] as const) {
          const wanted = expected[name]![t]!;
          assert.ok(Math.abs(value - wanted) <= 1e-5 * Math.abs(wanted), `step ${t}, ${name}: ${value}, not ${wanted}`);
        }
        if (t === 0) await assertParameters(engine, golden, 'first');
      }
      await assertParameters(engine, golden, 'final');
      await engine.close();
    });
  }
}

test('features that never fire keep their rows, are counted dead after the window, and others are not', async () => {
  const golden = await openGolden('train-gated-0');
  const start = new Map<string, Float32Array>();
  for (const name of PARAMETERS.gated) start.set(name, await golden.floats(`init/${name}`));
  const engine = await openReferenceEngine(settings('gated', 0), start);
  const batches = await golden.floats('batches');
  const size = SHAPE.batch * SHAPE.dIn;
  const dead: number[] = [];
  for (let t = 0; t < 4; t++) {
    dead.push((await engine.step({ x: batches.slice(t * size, (t + 1) * size) }, { lr: 1e-3, l1: 0.1 })).dead);
  }
  // The window of 96 activations is three batches long; features 0 to 2 of the golden never fire.
  assert.deepEqual(dead.slice(0, 2), [0, 0]);
  const since = (await engine.state()).get('since_fired')!;
  assert.equal(dead[3], since.filter((rows) => rows >= 96).length);
  assert.ok(dead[3]! >= 3);
  const { W_enc } = (await engine.sae()).parameters;
  const before = start.get('W_enc')!;
  for (let i = 0; i < SHAPE.dIn; i++) {
    for (const j of [0, 1, 2]) {
      assert.equal(since[j], 128, `feature ${j}`);
      assert.equal(W_enc![i * SHAPE.dSae + j], before[i * SHAPE.dSae + j], `row ${j}`);
    }
  }
  await engine.close();
});

test('float16 batches and the activation scale are applied in the graph', async () => {
  const golden = await openGolden('train-standard-0');
  const start = new Map<string, Float32Array>();
  for (const name of PARAMETERS.standard) start.set(name, await golden.floats(`init/${name}`));
  // ±1, ±0.5 and ±2 are exact in float16, so both engines see the same numbers.
  const exact = [1, -1, 0.5, -0.5, 2, -2];
  const bits = [0x3c00, 0xbc00, 0x3800, 0xb800, 0x4000, 0xc000];
  const pick = (i: number) => (i * 7 + (i >> 3)) % 6;
  const half = Uint16Array.from({ length: SHAPE.batch * SHAPE.dIn }, (_, i) => bits[pick(i)]!);
  const scaled = Float32Array.from({ length: SHAPE.batch * SHAPE.dIn }, (_, i) => 0.25 * exact[pick(i)]!);
  const a = await openReferenceEngine(settings('standard', 0, { batchDType: 'float16', scale: 0.25 }), start);
  const b = await openReferenceEngine(settings('standard', 0), start);
  for (let t = 0; t < 3; t++) {
    await a.step({ x: half }, { lr: 1e-3, l1: 0.1 });
    await b.step({ x: scaled }, { lr: 1e-3, l1: 0.1 });
  }
  for (const name of PARAMETERS.standard) {
    assert.deepEqual((await a.sae()).parameters[name], (await b.sae()).parameters[name], name);
  }
  await a.close();
  await b.close();
});

test('an engine opened on the state of another continues bit for bit', async () => {
  const golden = await openGolden('train-gated-0.9');
  const start = new Map<string, Float32Array>();
  for (const name of PARAMETERS.gated) start.set(name, await golden.floats(`init/${name}`));
  const batches = await golden.floats('batches');
  const size = SHAPE.batch * SHAPE.dIn;
  const batch = (t: number) => batches.slice(t * size, (t + 1) * size);
  const whole = await openReferenceEngine(settings('gated', 0.9), start);
  for (let t = 0; t < 6; t++) await whole.step({ x: batch(t) }, { lr: 1e-3, l1: 0.1 });
  const first = await openReferenceEngine(settings('gated', 0.9), start);
  for (let t = 0; t < 3; t++) await first.step({ x: batch(t) }, { lr: 1e-3, l1: 0.1 });
  const second = await openReferenceEngine(settings('gated', 0.9), await first.state(), first.steps);
  for (let t = 3; t < 6; t++) await second.step({ x: batch(t) }, { lr: 1e-3, l1: 0.1 });
  assert.deepEqual(await second.state(), await whole.state());
  for (const engine of [whole, first, second]) await engine.close();
});

test('decoder rows have norm 1 after every step', async () => {
  const golden = await openGolden('train-gated-0');
  const start = new Map<string, Float32Array>();
  for (const name of PARAMETERS.gated) start.set(name, await golden.floats(`init/${name}`));
  const engine = await openReferenceEngine(settings('gated', 0), start);
  const batches = await golden.floats('batches');
  await engine.step({ x: batches.slice(0, SHAPE.batch * SHAPE.dIn) }, { lr: 0.5, l1: 0.1 });
  const { W_dec } = (await engine.sae()).parameters;
  const [rows, d] = parameterShape('W_dec', square(SHAPE.dIn, SHAPE.dSae)) as [number, number];
  for (let j = 0; j < rows; j++) {
    const norm = Math.hypot(...W_dec!.subarray(j * d, (j + 1) * d));
    assert.ok(Math.abs(norm - 1) < 1e-6, `row ${j}: ${norm}`);
  }
  await engine.close();
});
