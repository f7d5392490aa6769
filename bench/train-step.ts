// One of our contenders, in the way of bench/peers/train_step.py: times steps from a start file, prints one JSON line.
import { parseArgs } from 'node:util';
import { GraphBuilder } from '../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../src/onnx/session.js';
import { PARAMETERS, trainingOf } from '../src/sae/registry.js';
import { type ArchitectureName, type ParameterName, parameterShape, square } from '../src/sae/sae.js';
import { readAllFloats } from '../src/safetensors/floats.js';
import type { Engine, EngineSettings } from '../src/train/engines/engine.js';
import { openReferenceEngine } from '../src/train/engines/reference/engine.js';
import { openSparseEngine, type SparseEngine } from '../src/train/engines/sparse/engine.js';

const { values } = parseArgs({
  options: Object.fromEntries(
    ['contender', 'architecture', 'start', 'warmup', 'steps', 'threads', 'lr', 'l1', 'beta1', 'k'].map((name) => [
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

const architecture = (values.architecture ?? 'gated') as ArchitectureName;

/** What belongs to the architecture, as its defaults have it; levels as bench/peers/start_parameters.py has them. */
/** Of jumprelu, which its other trainer is measured with: the defaults of SAELens. */
const SAELENS = { bandwidth: 0.05, steToEncoder: false };

function options(): unknown {
  const { flags, options } = trainingOf(architecture);
  const prefixes = [8, 4, 2, 1].map((share) => Math.trunc(dSae / share));
  const given = Object.entries({ k: number('k'), prefixes, ...SAELENS }).filter(([flag]) => flag in flags);
  return options(Object.fromEntries(given), square(dIn, dSae));
}

/** The start as bench/peers/start_parameters.py has it: about the L0 of the file whatever the architecture. */
function startParameters(): Map<string, Float32Array> {
  const gate = tensors.get('b_gate')!.values as Float32Array;
  const of = (name: ParameterName): Float32Array => {
    if (architecture === 'standard' && name === 'b_enc') return gate;
    if (architecture === 'jumprelu' && name === 'threshold') return gate.map((bias) => -bias);
    if (name === 'W_enc' || name === 'W_dec' || architecture === 'gated') return tensors.get(name)!.values;
    return new Float32Array(parameterShape(name, square(dIn, dSae)).reduce((size, dim) => size * dim, 1));
  };
  return new Map(PARAMETERS[architecture].map((name) => [name, of(name)]));
}

async function engine(): Promise<Engine> {
  const settings: EngineSettings = {
    ...{ architecture, dIn, dSae, batch, batchDType: 'float32', scale: 1, beta1: number('beta1', 0), beta2: 0.999 },
    ...{ deadWindow: 1_000_000, threads, options: options() },
  };
  const open = values.contender === 'sparse' ? openSparseEngine : openReferenceEngine;
  return open(settings, startParameters());
}

const contender = values.contender === 'product' ? await product() : await engine();
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
