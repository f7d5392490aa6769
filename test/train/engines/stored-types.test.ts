import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Batch } from '../../../src/activations/activation-source.js';
import { widen } from '../../../src/safetensors/floats.js';
import type { Engine, EngineSettings, TrainerState } from '../../../src/train/engines/engine.js';
import { openReferenceEngine } from '../../../src/train/engines/reference/engine.js';
import { fedType } from '../../../src/train/engines/reference/step-graph.js';
import { openSparseEngine } from '../../../src/train/engines/sparse/engine.js';
import { withoutCompiler } from './cuda/compiler.js';
import { openOnCpu } from './cuda/open-on-cpu.js';
import { randomStart, smallSettings } from './problem.js';

type Open = (settings: EngineSettings, start: TrainerState) => Promise<Engine>;

const ENGINES: Readonly<Record<string, { readonly open: Open; readonly skip?: string | false }>> = {
  reference: { open: openReferenceEngine },
  sparse: { open: openSparseEngine },
  cuda: { open: openOnCpu, skip: withoutCompiler },
};
const STEPS = 3;
const BITS = {
  float16: [0x3c00, 0xbc00, 0x3801, 0xb855, 0x4000, 0x0001, 0x83ff],
  bfloat16: [0x3f80, 0xbf81, 0x3eab, 0xbf00, 0x4012, 0x0001, 0x8040],
};

/** Batch number t of the bits of a type. */
function stored(type: 'float16' | 'bfloat16', { batch, dIn, dOut }: EngineSettings, t: number): Batch {
  const rows = (d: number, first: number) =>
    Uint16Array.from({ length: batch * d }, (_, k) => BITS[type][(k * 5 + (k >> 3) + first + t) % 7]!);
  return { x: rows(dIn, 0), ...(dOut !== undefined && { y: rows(dOut, 3) }) };
}

/** In float32, and with the factors that the settings have. */
function changed(values: Uint16Array | Float32Array, type: 'float16' | 'bfloat16', factors?: readonly number[]) {
  const wide = widen(values, type);
  return factors ? wide.map((value, k) => value * factors[k % factors.length]!) : wide;
}

const someFactors = (d: number) => Array.from({ length: d }, (_, i) => Math.fround(0.3 + i / 7));

/** What steps make of a start: the state, and every figure. */
async function trained(open: Open, settings: EngineSettings, feed: (engine: Engine, t: number) => Batch) {
  const engine = await open(settings, randomStart(settings, -0.8));
  try {
    const metrics = [];
    for (let t = 0; t < STEPS; t++) metrics.push(await engine.step(feed(engine, t), { lr: 0.01, l1: 0.1 }));
    return { metrics, state: await engine.state() };
  } finally {
    await engine.close();
  }
}

for (const [name, { open, skip = false }] of Object.entries(ENGINES)) {
  for (const type of ['float16', 'bfloat16'] as const) {
    test(`the ${name} engine makes the same bytes of ${type} and of the same numbers in float32, with factors or without`, {
      skip,
    }, async () => {
      const target = { dOut: 19, scaleOut: 1.1 };
      const factors = { input: someFactors(21), target: someFactors(19) };
      const forms = [{ ...target, factors }, {}, { factors: { input: factors.input } }, target];
      // The device of the tests is slow.
      for (const more of name === 'cuda' && process.env.SAE_PIPE_LONG !== '1' ? forms.slice(0, 1) : forms) {
        const sizes = { dIn: 21, dSae: 130, batch: 18, deadWindow: 54, threads: 1, ...more };
        const settings = smallSettings('gated', { ...sizes, batchDType: type });
        const { factors: own, ...plain } = settings;
        const narrow = await trained(open, settings, (_, t) => stored(type, settings, t));
        const wide = await trained(open, { ...plain, batchDType: 'float32' }, (_, t) => {
          const { x, y } = stored(type, settings, t);
          return { x: changed(x, type, own?.input), ...(y && { y: changed(y, type, own?.target) }) };
        });
        assert.deepEqual(narrow, wide);
      }
    });
  }
}

test('WebGPU is fed no float16 by the reference engine', () => {
  const fed = (device: string | undefined, batchDType: EngineSettings['batchDType']) =>
    fedType(smallSettings('gated', { device, batchDType }));
  assert.deepEqual([fed(undefined, 'float16'), fed('cuda:1', 'float16')], ['float16', 'float16']);
  assert.deepEqual([fed('webgpu', 'float16'), fed('cpu', 'bfloat16')], ['float32', 'float32']);
});

test("batches in the CUDA engine's own memory are those that are copied", { skip: withoutCompiler }, async () => {
  const settings = smallSettings('gated', { dIn: 21, dOut: 19, dSae: 130, batch: 18, batchDType: 'bfloat16' });
  const copied = await trained(openOnCpu, settings, (_, t) => stored('bfloat16', settings, t));
  const own = await trained(openOnCpu, settings, (engine, t) => {
    const { x, y } = stored('bfloat16', settings, t);
    const into = engine.buffers![t % 2]!;
    into.x.set(x);
    into.y!.set(y!);
    // A batch from elsewhere between them changes nothing of what was dealt.
    return t === 1 ? { x, y: y! } : into;
  });
  assert.deepEqual(own, copied);
});
