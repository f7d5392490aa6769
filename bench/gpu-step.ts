/**
 * One of our contenders of `npm run bench:gpu`, in the way of bench/peers/gpu_step.py:
 *
 *     node dist/bench/gpu-step.js --contender step|start-up|product|rates --precision tf32 --start FILE \
 *         --warmup 3 --steps 10 --rounds 5 [--device cuda]
 *
 * Prints a line of JSON: ms (mean milliseconds per step, of each round), l0 and loss of the first step, card; or rates.
 * start-up takes its steps from gates of zero, where half of all features are active, and prints a line after each.
 * --device shim is the CPU of the engine's tests, for rehearsals.
 */
import { parseArgs } from 'node:util';
import { Generator } from '../src/random/generator.js';
import { readAllFloats, toBfloat16 } from '../src/safetensors/floats.js';
import type { CudaDevice } from '../src/train/engines/cuda/device.js';
import { openCudaDevice } from '../src/train/engines/cuda/gpu.js';
import type { EngineSettings } from '../src/train/engines/engine.js';
import { type CudaPrecision, openCuda } from './cuda-engine.js';
import type { CardRates } from './gpu-work.js';

const { values } = parseArgs({
  options: Object.fromEntries(
    ['contender', 'precision', 'start', 'warmup', 'steps', 'rounds', 'device'].map((name) => [
      name,
      { type: 'string' },
    ]),
  ) as Record<string, { type: 'string' }>,
});
const precision = values.precision as CudaPrecision;
const [warmup, steps, rounds] = [values.warmup, values.steps, values.rounds].map(Number) as [number, number, number];

/** Mean milliseconds of a step in each round; whoever runs the steps has waited for the last. */
async function timed(run: (count: number) => Promise<void>): Promise<number[]> {
  await run(warmup);
  const ms: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const begun = performance.now();
    await run(steps);
    ms.push((performance.now() - begun) / steps);
  }
  return ms;
}

async function start() {
  const tensors = await readAllFloats(values.start!);
  const [count, batch, dIn] = tensors.get('batches')!.shape as [number, number, number];
  const dSae = tensors.get('W_dec')!.shape[0]!;
  const all = tensors.get('batches')!.values;
  const batches = Array.from({ length: count }, (_, k) => all.subarray(k * batch * dIn, (k + 1) * batch * dIn));
  const parameters = new Map([...tensors].filter(([name]) => name !== 'batches').map(([name, t]) => [name, t.values]));
  return { batch, dIn, dSae, batches, parameters };
}

async function opened({ batch, dIn, dSae, parameters }: Awaited<ReturnType<typeof start>>) {
  const settings: EngineSettings = {
    ...{ architecture: 'gated', dIn, dSae, batch, batchDType: 'float32', scale: 1, beta1: 0, beta2: 0.999 },
    deadWindow: 1_000_000,
  };
  return openCuda(settings, parameters, precision, values.device);
}

/** The engine as `train` uses it: a batch from host memory, the metrics of a step awaited before the next. */
async function step() {
  const from = await start();
  const { batches } = from;
  const engine = await opened(from);
  const schedule = { lr: 1e-5, l1: 1 };
  const { l0, mse, l1, aux } = await engine.step({ x: batches[0]! }, schedule);
  let done = 1;
  const ms = await timed(async (count) => {
    for (let i = 0; i < count; i++) await engine.step({ x: batches[done++ % batches.length]! }, schedule);
  });
  await engine.close();
  return { ms, l0, loss: mse + l1 + aux };
}

/** Milliseconds and L0 of each of the first steps with the presets of `train` for the paper's Gemma 7B. */
async function startUp() {
  const from = await start();
  from.parameters.get('b_gate')!.fill(0);
  const engine = await opened(from);
  const [ms, l0]: [number[], number[]] = [[], []];
  for (let t = 0; t < steps; t++) {
    const begun = performance.now();
    const metrics = await engine.step({ x: from.batches[t % from.batches.length]! }, { lr: 3e-4, l1: 5 });
    ms.push(performance.now() - begun);
    l0.push(metrics.l0);
    // Each is a result, should this be ended.
    console.log(JSON.stringify({ ms, l0, loss: null }));
  }
  await engine.close();
  return { ms, l0, loss: null };
}

/** The encoder product alone, in memory that is already allocated. */
async function product(device: CudaDevice) {
  const { batch, dIn, dSae, batches, parameters } = await start();
  const width = precision === 'bfloat16' ? 2 : 4;
  const upload = (floats: Float32Array) => {
    const pointer = device.allocate(width * floats.length);
    const bytes = width === 4 ? floats : toBfloat16(floats);
    const host = device.allocateHost(bytes.byteLength);
    new Uint8Array(host.bytes).set(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    device.waitFor(device.upload(pointer, host, bytes.byteLength));
    return pointer;
  };
  const [a, b] = [upload(batches[0]!), upload(parameters.get('W_dec')!)];
  const c = device.allocate(4 * batch * dSae);
  const shape = { m: batch, n: dSae, k: dIn, a, b, c, transposedB: true, strideC: dSae, precision };
  const ms = await timed(async (count) => {
    for (let i = 0; i < count; i++) device.multiply(shape);
    await device.mark().reached();
  });
  return { ms, l0: null, loss: null };
}

/** What the card does at best with copies of 2 GiB, read and written, and square products of 8192. */
async function rates(device: CudaDevice): Promise<CardRates> {
  const [bytes, side] = [2 ** 31, 8192];
  const [from, to, c] = [device.allocate(bytes), device.allocate(bytes), device.allocate(4 * side * side)];
  fill(device, from, bytes);
  const best = async (run: () => void) => {
    const ms = await timed(async (count) => {
      for (let i = 0; i < count; i++) run();
      await device.mark().reached();
    });
    return Math.min(...ms) / 1000;
  };
  const copy = (2 * bytes) / (await best(() => device.copy(to, from, bytes)));
  const products: Record<string, number> = {};
  for (const kind of ['float32', 'tf32', 'bfloat16'] as const) {
    const shape = { m: side, n: side, k: side, a: from, b: to, c, transposedB: true, strideC: side, precision: kind };
    products[kind] = (2 * side ** 3) / (await best(() => device.multiply(shape)));
  }
  return { copy, products };
}

/** Ordinary numbers, as float32 and as bfloat16: a card that multiplies zeros draws less power, and is faster. */
function fill(device: CudaDevice, to: bigint, bytes: number): void {
  const block = 2 ** 26;
  const host = device.allocateHost(block);
  const random = new Generator(1);
  const halves = toBfloat16(Float32Array.from({ length: 4099 }, () => random.normal()));
  const all = new Uint16Array(host.bytes);
  for (let i = 0; i < all.length; i++) all[i] = halves[i % halves.length]!;
  device.waitFor(device.upload(to, host, block));
  for (let done = block; done < bytes; done *= 2) device.copy(to + BigInt(done), to, done);
}

async function onDevice<T>(run: (device: CudaDevice) => Promise<T>) {
  const device = await openCudaDevice(0);
  const { name, versions } = device;
  const answer = await run(device);
  device.close();
  return { ...answer, card: name, versions };
}

const contenders = { step, 'start-up': startUp, product: () => onDevice(product), rates: () => onDevice(rates) };
try {
  const answer = await contenders[values.contender as keyof typeof contenders]();
  console.log(JSON.stringify({ version: 'ours', ...answer }));
} catch (error) {
  console.error(error);
  console.log(JSON.stringify({ error: (error as Error).message.split('\n')[0] }));
}
