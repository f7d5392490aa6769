// One of our contenders, in the way of bench/peers/train_step.py: times steps from a start file, prints one JSON line.
import { parseArgs } from 'node:util';
import { GraphBuilder } from '../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../src/onnx/session.js';
import { readAllFloats } from '../src/safetensors/floats.js';
import type { Engine, EngineSettings } from '../src/train/engines/engine.js';
import { openReferenceEngine } from '../src/train/engines/reference/engine.js';
import { openSparseEngine, type SparseEngine } from '../src/train/engines/sparse/engine.js';

const { values } = parseArgs({
  options: Object.fromEntries(
    ['contender', 'start', 'warmup', 'steps', 'threads', 'lr', 'l1', 'beta1', 'k'].map((name) => [
      name,
      { type: 'string' },
    ]),
  ) as Record<string, { type: 'string' }>,
});
const number = (name: string, otherwise = Number.NaN) => Number(values[name] ?? otherwise);
const [warmup, steps, threads] = [number('warmup'), number('steps'), number('threads')];

const tensors = await readAllFloats(String(values.start));
const [count, batch, dIn] = tensors.get('batches')!.shape as [number, number, number];
const dSae = tensors.get('W_dec')!.shape[0]!;
const all = tensors.get('batches')!.values;
const batches = Array.from({ length: count }, (_, k) => all.subarray(k * batch * dIn, (k + 1) * batch * dIn));

async function product(): Promise<{ step(batch: { x: Float32Array }): Promise<unknown>; close(): Promise<void> }> {
  const { Tensor } = await onnxRuntime();
  const g = new GraphBuilder('product');
  const x = g.input('x', 'float32', [batch, dIn]);
  const [w, b] = [g.input('W_enc', 'float32', [dIn, dSae]), g.input('b_dec', 'float32', [dIn])];
  g.output('p', g.matmul(g.sub(x, b), w), 'float32', [batch, dSae]);
  const session = await openSession(g.encode(), { threads });
  const feeds = {
    W_enc: new Tensor('float32', tensors.get('W_enc')!.values, [dIn, dSae]),
    b_dec: new Tensor('float32', tensors.get('b_dec')!.values, [dIn]),
  };
  const p = new Tensor('float32', new Float32Array(batch * dSae), [batch, dSae]);
  return {
    step: ({ x: rows }) => session.run({ ...feeds, x: new Tensor('float32', rows, [batch, dIn]) }, { p }),
    close: () => session.release(),
  };
}

/** Our TopK with AuxK, of which no feature is dead here. */
async function topk(): Promise<Engine> {
  const settings: EngineSettings = {
    ...{ architecture: 'topk', dIn, dSae, batch, batchDType: 'float32', scale: 1, beta1: 0, beta2: 0.999 },
    ...{ deadWindow: 1_000_000, threads, options: { k: number('k'), kAux: dIn / 2, auxCoefficient: 1 / 32 } },
  };
  return openSparseEngine(
    settings,
    new Map(['W_enc', 'W_dec', 'b_dec'].map((name) => [name, tensors.get(name)!.values])),
  );
}

async function engine(): Promise<Engine> {
  const beta1 = number('beta1', 0);
  const settings: EngineSettings = {
    ...{ architecture: 'gated', dIn, dSae, batch, batchDType: 'float32', scale: 1, beta1, beta2: 0.999 },
    ...{ deadWindow: 1_000_000, threads },
  };
  const start = new Map([...tensors].filter(([name]) => name !== 'batches').map(([name, t]) => [name, t.values]));
  return values.contender === 'sparse' ? openSparseEngine(settings, start) : openReferenceEngine(settings, start);
}

const contender =
  values.contender === 'product' ? await product() : await (values.contender === 'topk' ? topk() : engine());
const schedule = { lr: number('lr'), l1: number('l1') };
const ms: number[] = [];
const parts: Record<string, number[]> = {};
const profiled = 'profile' in contender ? (contender as SparseEngine) : undefined;
let l0: number | null = null;
for (let t = 0; t < warmup + steps; t++) {
  const before = profiled?.profile();
  const began = performance.now();
  const metrics = (await contender.step({ x: batches[t % count]! }, schedule)) as { l0?: number };
  if (t >= warmup) {
    ms.push(performance.now() - began);
    for (const [part, spent] of Object.entries(profiled?.profile() ?? {})) {
      parts[part] ??= [];
      parts[part].push(spent - (before as Record<string, number>)[part]!);
    }
  }
  l0 = metrics.l0 ?? null;
}
await contender.close();
const profile = Object.fromEntries(
  Object.entries(parts).map(([part, spent]) => [part, spent.sort((a, b) => a - b)[spent.length >> 1]!]),
);
console.log(
  JSON.stringify({ contender: values.contender, version: 'ours', ms, l0, ...(profiled ? { profile } : {}), threads }),
);
