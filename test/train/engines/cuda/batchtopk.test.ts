import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import type { BatchTopKOptions } from '../../../../src/sae/architectures/batchtopk.js';
import { PARAMETERS } from '../../../../src/sae/registry.js';
import { DeviceArrays } from '../../../../src/train/engines/cuda/device-arrays.js';
import type { EncoderProduct } from '../../../../src/train/engines/cuda/encoder-product.js';
import { kernelSource } from '../../../../src/train/engines/cuda/kernels/source.js';
import { Launcher } from '../../../../src/train/engines/cuda/launcher.js';
import { checkCounts, entryBytes, planCuda } from '../../../../src/train/engines/cuda/plan.js';
import { EntrySelection } from '../../../../src/train/engines/cuda/selection.js';
import type { EngineSettings, StepMetrics } from '../../../../src/train/engines/engine.js';
import { chooseEngine } from '../../../../src/train/engines/open.js';
import { openReferenceEngine } from '../../../../src/train/engines/reference/engine.js';
import { refuses } from '../../../config/refuses.js';
import { openGolden, relativeDifference } from '../../../golden.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../problem.js';
import { withoutCompiler } from './compiler.js';
import { CpuDevice, type CpuDeviceOptions } from './cpu-device.js';
import { openOnCpu } from './open-on-cpu.js';

const skip = withoutCompiler;
/** `SAE_PIPE_LONG=1` runs what compiles kernels of other sizes, or takes many steps. */
const onDemand = skip || (process.env.SAE_PIPE_LONG !== '1' && 'takes other kernels: SAE_PIPE_LONG=1');

function settings(options: Partial<BatchTopKOptions> = {}, more: Partial<EngineSettings> = {}): EngineSettings {
  const chosen = { k: 6, kAux: 1, auxCoefficient: 0, ...options };
  return smallSettings('batchtopk', { options: chosen, batch: 26, deadWindow: 104, ...more });
}
/** Kernels are compiled for a text, so what can be tested with one problem is. */
const USUAL = settings();
/** Two words of features a slice: four slices, the last of which is not full. */
const SLICE = 64;
const ORDERS = ['forwards', 'backwards', 'shuffled'] as const;

/** One entry as the kernels list it. */
interface Listed {
  readonly token: number;
  readonly feature: number;
  readonly p: number;
}

/** The k · B largest above 0, by a sort: of equals the lower feature, then the lower token. NaN is the largest. */
function largestBySort(p: Float32Array, bias: Float32Array, wanted: number): Listed[] {
  const h = ({ p: own, feature }: Listed) => Math.fround(own + bias[feature]!);
  const order = (entry: Listed) => (Number.isNaN(h(entry)) ? Number.POSITIVE_INFINITY : h(entry));
  return Array.from(p, (own, i) => ({ token: Math.floor(i / bias.length), feature: i % bias.length, p: own }))
    .filter((entry) => !(h(entry) <= 0))
    .sort((a, b) => order(b) - order(a) || a.feature - b.feature || a.token - b.token)
    .slice(0, wanted)
    .sort((a, b) => a.token - b.token || a.feature - b.feature);
}

/** What the engine's own selection lists of given pre-activations, without a product. */
async function selected(p: Float32Array, bias: Float32Array, order: CpuDeviceOptions['order']): Promise<Listed[]> {
  const { batch, dSae } = USUAL;
  const plan = planCuda(USUAL, { slice: 4 * batch * SLICE, denseShare: 1 });
  const device = await CpuDevice.open({ order: order! });
  const arrays = new DeviceArrays(device, plan);
  const launcher = new Launcher(await device.compile(kernelSource(USUAL, plan)), arrays);
  const send = (to: bigint, values: Float32Array) => {
    const host = device.allocateHost(values.byteLength);
    new Float32Array(host.bytes).set(values);
    // When the work before is done.
    device.waitFor(device.upload(to, host, values.byteLength, device.mark()));
  };
  send(arrays.at('bias'), bias);
  const product = {
    encode(s: number) {
      const [first, count] = [s * SLICE, Math.min(SLICE, dSae - s * SLICE)];
      // What is beyond the last feature is not to be read as one.
      const slice = new Float32Array(batch * SLICE).fill(1e30);
      for (let b = 0; b < batch; b++) slice.set(p.subarray(b * dSae + first, b * dSae + first + count), b * SLICE);
      send(arrays.at('p_slice'), slice);
      return { first, count };
    },
  } as unknown as EncoderProduct;
  new EntrySelection({ settings: USUAL, plan, device, arrays, launcher }, product, undefined!, undefined!).select({
    dense: [],
    revives: false,
  });
  const read = async (name: string, bytes: number) => {
    const host = device.allocateHost(bytes);
    device.download(host, arrays.at(name), bytes);
    await device.mark().reached();
    return host.bytes;
  };
  const total = Number(new BigInt64Array(await read('total', 8))[0]);
  const feature = new Int32Array(await read('feature', 4 * plan.mostEntries));
  const values = new Float32Array(await read('p', 4 * plan.mostEntries));
  const starts = new Int32Array(await read('token_start', 4 * (batch + 1)));
  const mask = new Uint32Array(await read('mask', 4 * batch * plan.words));
  const wordStart = new Int32Array(await read('word_start', 4 * batch * plan.words));
  device.close();
  const listed: Listed[] = [];
  for (let b = 0; b < batch; b++) {
    for (let k = starts[b]!; k < starts[b + 1]!; k++) listed.push({ token: b, feature: feature[k]!, p: values[k]! });
  }
  assert.equal(listed.length, total);
  // The mask has these and no others, and words know where theirs begin.
  const marked = listed.filter(({ token, feature: j }) => (mask[token * plan.words + (j >> 5)]! >>> (j & 31)) & 1);
  assert.equal(marked.length, total);
  let bits = 0;
  for (const [w, word] of mask.entries()) {
    for (let left = word; left !== 0; left &= left - 1) bits++;
    const first = listed.findIndex(({ token, feature: j }) => token * plan.words + (j >> 5) === w);
    if (word !== 0) assert.equal(wordStart[w], first);
  }
  assert.equal(bits, total);
  return listed;
}

/** Values of which many are equal, of every exponent; or so few above 0 that all are kept; or none; or all alike. */
function valuesOf(kind: 'random' | 'ties' | 'alike' | 'few' | 'none' | 'odd'): Float32Array {
  const random = new Generator(12);
  const { batch, dSae } = USUAL;
  const some = [-1, 0, 0.25, 0.5, 1, 1.5, 3e30, 2e-40];
  return Float32Array.from({ length: batch * dSae }, (_, i) => {
    const value = random.normal();
    if (kind === 'ties') return some[Math.floor(random.uniform() * (i % 3 === 0 ? 8 : 4))]!;
    if (kind === 'alike') return 0.75;
    if (kind === 'few') return i % 97 === 0 ? Math.abs(value) : -1;
    if (kind === 'none') return -Math.abs(value) - 1;
    if (kind === 'odd') return i % 1000 === 7 ? Number.NaN : i % 1000 === 8 ? Number.POSITIVE_INFINITY : value;
    return value;
  });
}

test('of a batch, the largest above 0 are listed across slices; of equals lower features, then lower tokens', {
  skip,
}, async () => {
  const { batch, dSae } = USUAL;
  for (const [i, kind] of (['random', 'ties', 'alike', 'few', 'none', 'odd'] as const).entries()) {
    const bias = Float32Array.from({ length: dSae }, (_, j) => (kind !== 'none' && j % 5 === 0 ? 0.25 : 0));
    const p = valuesOf(kind);
    const wanted = largestBySort(p, bias, 6 * batch);
    if (kind === 'none') assert.equal(wanted.length, 0);
    else if (kind === 'few') assert.ok(wanted.length > 0 && wanted.length < 6 * batch);
    else assert.equal(wanted.length, 6 * batch);
    assert.deepEqual(await selected(p, bias, ORDERS[i % 3]), wanted, kind);
  }
});

test('ten batchtopk steps agree with the reference engine, on batches of changing size', { skip }, async () => {
  const start = randomStart(USUAL, -0.3);
  start.get('b_enc')![57] = -1e4;
  const [reference, cuda] = [await openReferenceEngine(USUAL, start), await openOnCpu(USUAL, start)];
  const sizes = [1, 1.01, 0.99, 0.2, 5, 5, 0.3, 1, 0.01, 1];
  const next = batches(USUAL);
  let t = 0;
  await stepBoth(reference, cuda, sizes.length, () => {
    const size = sizes[t++]!;
    return next().map((value) => value * size);
  });
  const { name, difference } = await stateDifference(cuda, reference);
  assert.ok(difference < 1e-4, `${name}: ${difference}`);
  const state = await cuda.state();
  assert.equal(state.get('since_fired')![57], sizes.length * USUAL.batch);
  for (const parameter of PARAMETERS.batchtopk) {
    assert.notDeepEqual(state.get(parameter), start.get(parameter), `${parameter} stays`);
  }
  await Promise.all([reference.close(), cuda.close()]);
});

test('where none is above 0, the threshold keeps its bits; NaN in a batch reaches the loss', { skip }, async () => {
  const start = randomStart(USUAL, -9);
  start.get('threshold')!.fill(0.3);
  const engine = await openOnCpu(USUAL, start);
  const x = batches(USUAL)();
  const { l0 } = await engine.step({ x: x.map(() => 0) }, { lr: 0, l1: 0 });
  assert.equal(l0, 0);
  assert.deepEqual((await engine.state()).get('threshold'), start.get('threshold'));
  x[100] = Number.NaN;
  assert.ok(Number.isNaN((await engine.step({ x }, { lr: 0, l1: 0 })).mse));
  await engine.close();
});

test('a batchtopk run gives the same bits in every order, and continued from a checkpoint', { skip }, async () => {
  const run = async (
    from: number,
    to: number,
    start: ReturnType<typeof randomStart>,
    options: CpuDeviceOptions = {},
  ) => {
    const engine = await openOnCpu(USUAL, start, from, options);
    const next = batches(USUAL);
    const metrics: StepMetrics[] = [];
    for (let t = 0; t < to; t++) {
      const x = next();
      if (t >= from) metrics.push(await engine.step({ x }, { lr: 1e-3, l1: 0 }));
    }
    const state = await engine.state();
    await engine.close();
    return { metrics, state: new Map(state) };
  };
  const whole = await run(0, 5, randomStart(USUAL, -0.3));
  assert.deepEqual(await run(0, 5, randomStart(USUAL, -0.3), { order: 'backwards', uploads: 'late' }), whole);
  assert.deepEqual(await run(0, 5, randomStart(USUAL, -0.3), { order: 'shuffled' }), whole);
  const half = await run(0, 3, randomStart(USUAL, -0.3));
  const rest = await run(3, 5, half.state);
  assert.deepEqual([...half.metrics, ...rest.metrics], whole.metrics);
  assert.deepEqual(rest.state, whole.state);
  assert.deepEqual(
    whole.metrics.map(({ l0 }) => l0),
    [6, 6, 6, 6, 6],
  );
});

test('what selecting over a batch takes is in the plan, and counts that kernels cannot hold are refused', {
  skip,
}, async () => {
  const engine = await openOnCpu(USUAL, randomStart(USUAL, -0.3));
  const { arrays, entries, mostEntries } = planCuda(USUAL, { slice: 4 * USUAL.batch * SLICE, denseShare: 1 });
  assert.deepEqual([entries, mostEntries], [6 * USUAL.batch, 6 * USUAL.batch]);
  const fixed = [...arrays.values()].reduce((sum, bytes) => sum + bytes, 0);
  assert.equal(engine.device.used, fixed + entryBytes(entries));
  await engine.close();
  const of = (batch: number, k: number) => {
    const large = settings({ k }, { dIn: 8, dSae: 2 ** 20, batch });
    return () => checkCounts(large, planCuda(large));
  };
  of(4096, 64)();
  await refuses(of(8192, 2 ** 14), 'cuda/too-many-entries', 'candidates', '2147483647');
});

test('the CUDA engine trains batchtopk, with AuxK and without', () => {
  const cuda = { engine: 'cuda', device: 'cuda', experimental: true } as const;
  for (const auxCoefficient of [0, 1 / 32]) assert.equal(chooseEngine(cuda, settings({ auxCoefficient })), 'cuda');
});

/** Runs whose kernels differ: momentum, sizes, dtypes, targets, more than there are, one slice. */
const RUNS: Readonly<Record<string, EngineSettings>> = {
  momentum: settings({}, { beta1: 0.9 }),
  'more than are above 0': settings({ k: 190 }),
  'one per token': settings({ k: 1 }),
  'many tokens': settings({ k: 3 }, { dIn: 9, dSae: 70, batch: 261 }),
  'one of everything': settings({ k: 1 }, { dIn: 1, dSae: 1, batch: 1 }),
  'another target': settings({}, { dOut: 290, scaleOut: 1.3, dSae: 70 }),
  'only the decoder': settings({}, { trained: ['W_dec', 'b_dec'] }),
};

for (const [name, chosen] of Object.entries(RUNS)) {
  test(`batchtopk steps agree with the reference engine: ${name}`, { skip: onDemand }, async () => {
    const start = randomStart(chosen, -0.3);
    const [reference, cuda] = [await openReferenceEngine(chosen, start), await openOnCpu(chosen, start)];
    const [x, y] = [batches(chosen), batches({ ...chosen, dIn: chosen.dOut ?? 1 }, 5)];
    await stepBoth(reference, cuda, 6, () => ({ x: x(), ...(chosen.dOut && { y: y() }) }));
    const { name: worst, difference } = await stateDifference(cuda, reference);
    assert.ok(difference < 1e-4, `${worst}: ${difference}`);
    await Promise.all([reference.close(), cuda.close()]);
  });
}

test('300 batchtopk steps agree with the reference engine', { skip: onDemand }, async () => {
  const start = randomStart(USUAL, -0.3);
  const [reference, cuda] = [await openReferenceEngine(USUAL, start), await openOnCpu(USUAL, start)];
  await stepBoth(reference, cuda, 300, batches(USUAL));
  const { name, difference } = await stateDifference(cuda, reference);
  assert.ok(difference < 1e-4, `${name}: ${difference}`);
  await Promise.all([reference.close(), cuda.close()]);
});

test('ten batchtopk steps by the CUDA engine equal PyTorch autograd in float64', { skip: onDemand }, async () => {
  const golden = await openGolden('batchtopk');
  const options = { k: 3, kAux: 4, auxCoefficient: 0 };
  const small = smallSettings('batchtopk', { options, dIn: 8, dSae: 24, batch: 16, scale: 1, deadWindow: 24 });
  const start = new Map<string, Float32Array>();
  for (const parameter of ['W_enc', 'W_dec', 'b_dec', 'b_enc']) start.set(parameter, await golden.floats(parameter));
  const engine = await openOnCpu(small, start);
  const [all, lr] = [await golden.floats('batches'), await golden.doubles('lr')];
  for (let t = 0; t < 10; t++) await engine.step({ x: all.slice(t * 128, (t + 1) * 128) }, { lr: lr[t]!, l1: 0 });
  const { parameters } = await engine.sae();
  for (const parameter of PARAMETERS.batchtopk) {
    const difference = relativeDifference(parameters[parameter]!, await golden.doubles(`none/${parameter}`));
    assert.ok(difference < 2e-5, `${parameter}: ${difference}`);
  }
  await engine.close();
});
