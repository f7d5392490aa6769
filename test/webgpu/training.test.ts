import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EngineSettings } from '../../src/train/engines/engine.js';
import { openReferenceEngine } from '../../src/train/engines/reference/engine.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../train/engines/problem.js';
import { noWebGpu } from './software-vulkan.js';

/** `SAE_PIPE_LONG=1 node --test dist/test/webgpu/` trains every architecture. */
const LONG = process.env.SAE_PIPE_LONG === '1';
const skip = await noWebGpu();

const k = { k: 6, kAux: 11, auxCoefficient: 1 / 32 };
const step = { sparsityLoss: 'step', bandwidth: 0.4, steToEncoder: true, preActLoss: 1e-3 };
/** About half of the features die within the steps of the test. */
const dying = { deadWindow: 210 };

const USUAL: Readonly<Record<string, EngineSettings>> = { gated: smallSettings('gated') };
const MORE: Readonly<Record<string, EngineSettings>> = {
  standard: smallSettings('standard', { beta1: 0.9 }),
  'gated with an untied encoder': smallSettings('gated_untied', { options: { ablate: [] } }),
  topk: smallSettings('topk', { options: k, ...dying }),
  batchtopk: smallSettings('batchtopk', { options: k, ...dying }),
  jumprelu: smallSettings('jumprelu', { options: step }),
  matryoshka: smallSettings('matryoshka', {
    options: { ...k, prefixes: [50, 210], prefixWeights: [0.5, 0.5] },
    ...dying,
  }),
  'a transcoder with a skip connection': smallSettings('standard', { dOut: 31, scaleOut: 1.3, skip: true }),
  'clipped gradients': smallSettings('gated', { clipGradNorm: 30 }),
};

for (const [name, settings] of Object.entries(LONG ? { ...USUAL, ...MORE } : USUAL)) {
  test(`${name}: steps of the reference engine on WebGPU are those on the CPU`, { skip }, async () => {
    const start = randomStart(settings, -0.2);
    start.get('threshold')?.fill(0.1);
    const cpu = await openReferenceEngine(settings, start);
    const gpu = await openReferenceEngine({ ...settings, device: 'webgpu' }, start);
    const [x, y] = [batches(settings), batches({ ...settings, dIn: settings.dOut ?? 1 }, 5)];
    await stepBoth(cpu, gpu, LONG ? 12 : 4, () => (settings.dOut === undefined ? x() : { x: x(), y: y() }));
    const { name: worst, difference } = await stateDifference(gpu, cpu);
    assert.ok(difference < 1e-4, `${worst}: ${difference}`);
    for (const engine of [cpu, gpu]) await engine.close();
  });
}
