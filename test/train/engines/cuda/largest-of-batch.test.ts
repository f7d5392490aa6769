import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import type { BatchTopKOptions } from '../../../../src/sae/architectures/batchtopk.js';
import type { MatryoshkaOptions } from '../../../../src/sae/architectures/matryoshka.js';
import { PARAMETERS, trainingOf } from '../../../../src/sae/registry.js';
import { square } from '../../../../src/sae/sae.js';
import { DeviceArrays } from '../../../../src/train/engines/cuda/device-arrays.js';
import type { EncoderProduct } from '../../../../src/train/engines/cuda/encoder-product.js';
import { kernelSource } from '../../../../src/train/engines/cuda/kernels/source.js';
import { Launcher } from '../../../../src/train/engines/cuda/launcher.js';
import { checkCounts, entryBytes, lacking, planCuda } from '../../../../src/train/engines/cuda/plan.js';
import { EntrySelection } from '../../../../src/train/engines/cuda/selection.js';
import type { EngineSettings, StepMetrics, TrainerState } from '../../../../src/train/engines/engine.js';
import { chooseEngine } from '../../../../src/train/engines/open.js';
import { openReferenceEngine } from '../../../../src/train/engines/reference/engine.js';
import { refuses } from '../../../config/refuses.js';
import { openGolden, relativeDifference } from '../../../golden.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../problem.js';
import { withoutCompiler } from './compiler.js';
import { CpuDevice, type CpuDeviceOptions } from './cpu-device.js';
import { openOnCpu } from './open-on-cpu.js';

const skip = withoutCompiler;
/** `SAE_PIPE_LONG=1` runs what compiles other kernels, or takes many steps. */
const onDemand = skip || (process.env.SAE_PIPE_LONG !== '1' && 'compiles other kernels: SAE_PIPE_LONG=1');

/** Three slices, of which the last is not full. */
const SIZES = { dSae: 150, batch: 10, deadWindow: 40 } as const;
const K = 4;
/** Prefixes that end within slices and within words of the mask; one has a single feature more. */
const PREFIXES = { prefixes: [3, 70, 71, 150], prefixWeights: [1, 2, 0.5, 0.7] };
/** Features of a slice: two words of the mask. */
const SLICE = 64;
const ORDERS = ['forwards', 'backwards', 'shuffled'] as const;

function batchtopk(options: Partial<BatchTopKOptions> = {}, more: Partial<EngineSettings> = {}): EngineSettings {
  const chosen = { k: K, kAux: 1, auxCoefficient: 0, ...options };
  return smallSettings('batchtopk', { ...SIZES, options: chosen, ...more });
}

function matryoshka(options: Partial<MatryoshkaOptions> = {}, more: Partial<EngineSettings> = {}): EngineSettings {
  const chosen = { k: K, kAux: 1, auxCoefficient: 0, ...PREFIXES, ...options };
  return smallSettings('matryoshka', { ...SIZES, options: chosen, ...more });
}

/** Kernels are compiled for a text, so the usual tests are of one: it selects as batchtopk does, and has prefixes. */
const USUAL = matryoshka();
const PLANNED = { slice: 4 * USUAL.batch * SLICE, denseShare: 1 };

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
  const plan = planCuda(USUAL, PLANNED);
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
    if (kind === 'few') return i % 61 === 0 ? Math.abs(value) : -1;
    if (kind === 'none') return -Math.abs(value) - 1;
    if (kind === 'odd') return i % 200 === 7 ? Number.NaN : i % 200 === 8 ? Number.POSITIVE_INFINITY : value;
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
    const wanted = largestBySort(p, bias, K * batch);
    if (kind === 'none') assert.equal(wanted.length, 0);
    else if (kind === 'few') assert.ok(wanted.length > 0 && wanted.length < K * batch);
    else assert.equal(wanted.length, K * batch);
    assert.deepEqual(await selected(p, bias, ORDERS[i % 3]), wanted, kind);
  }
});

/** Steps on batches of changing size, in shuffled order of threads and blocks. */
async function agrees(chosen: EngineSettings, steps: number): Promise<TrainerState> {
  const start = randomStart(chosen, -0.3);
  start.get('b_enc')![57] = -1e4;
  const reference = await openReferenceEngine(chosen, start);
  const cuda = await openOnCpu(chosen, start, 0, { order: 'shuffled' });
  const [x, y] = [batches(chosen), batches({ ...chosen, dIn: chosen.dOut ?? 1 }, 5)];
  const sizes = [1, 1.01, 0.99, 0.2, 5, 5, 0.3, 1, 0.01, 1];
  let t = 0;
  await stepBoth(reference, cuda, steps, () => {
    const size = sizes[t++ % sizes.length]!;
    return { x: x().map((value) => value * size), ...(chosen.dOut && { y: y() }) };
  });
  const { name, difference } = await stateDifference(cuda, reference);
  assert.ok(difference < 1e-4, `${name}: ${difference}`);
  const state = await cuda.state();
  for (const parameter of chosen.trained ?? PARAMETERS[chosen.architecture]) {
    assert.notDeepEqual(state.get(parameter), start.get(parameter), `${parameter} stays`);
  }
  await Promise.all([reference.close(), cuda.close()]);
  return state;
}

test('ten matryoshka steps agree with the reference engine', { skip }, async () => {
  const state = await agrees(USUAL, 10);
  assert.equal(state.get('since_fired')![57], 10 * USUAL.batch);
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

/** Steps (from, to] of a run. */
async function ran(
  chosen: EngineSettings,
  [from, to]: readonly [number, number],
  start: TrainerState,
  options: CpuDeviceOptions = {},
) {
  const engine = await openOnCpu(chosen, start, from, options);
  const next = batches(chosen);
  const metrics: StepMetrics[] = [];
  for (let t = 0; t < to; t++) {
    const x = next();
    if (t >= from) metrics.push(await engine.step({ x }, { lr: 1e-3, l1: 0 }));
  }
  const state = await engine.state();
  await engine.close();
  return { metrics, state };
}

test('a run gives the same bits in every order, and continued from a checkpoint', { skip }, async () => {
  const start = randomStart(USUAL, -0.3);
  const whole = await ran(USUAL, [0, 3], start);
  assert.deepEqual(await ran(USUAL, [0, 3], start, { order: 'backwards', uploads: 'late' }), whole);
  const half = await ran(USUAL, [0, 2], start, { order: 'shuffled' });
  const rest = await ran(USUAL, [2, 3], half.state);
  assert.deepEqual([...half.metrics, ...rest.metrics], whole.metrics);
  assert.deepEqual(rest.state, whole.state);
  for (const { l0 } of whole.metrics) assert.equal(l0, K);
});

test('the plan counts what selecting over a batch takes, and a residual per prefix', { skip }, async () => {
  const engine = await openOnCpu(USUAL, randomStart(USUAL, -0.3), 0, { idle: true });
  const { arrays, entries, mostEntries, dOutRow } = planCuda(USUAL, PLANNED);
  assert.deepEqual([entries, mostEntries], [K * USUAL.batch, K * USUAL.batch]);
  assert.equal(arrays.get('r'), PREFIXES.prefixes.length * 4 * USUAL.batch * dOutRow);
  const fixed = [...arrays.values()].reduce((sum, bytes) => sum + bytes, 0);
  assert.equal(engine.device.used, fixed + entryBytes(entries));
  await engine.close();
});

test('counts that kernels cannot hold are refused, and a second reconstruction next to prefixes', async () => {
  const of = (batch: number, k: number) => {
    const large = batchtopk({ k }, { dIn: 8, dSae: 2 ** 20, batch });
    return () => checkCounts(large, planCuda(large));
  };
  of(4096, 64)();
  await refuses(of(8192, 2 ** 14), 'cuda/too-many-entries', 'candidates', '2147483647');
  const gated = trainingOf('gated').cuda(trainingOf('gated').options({}, square(8, 16)));
  const both = { ...gated, prefixes: [{ width: 16, weight: 1 }] } as Parameters<typeof lacking>[0];
  assert.match(lacking(both)!, /prefixes/);
  const cuda = { engine: 'cuda', device: 'cuda', experimental: true } as const;
  for (const auxCoefficient of [0, 1 / 32]) {
    for (const chosen of [batchtopk, matryoshka]) {
      assert.equal(chooseEngine(cuda, chosen({ auxCoefficient })), 'cuda');
    }
  }
});

/** Runs whose kernels differ: momentum, sizes, targets, what is trained, densities, prefixes. */
const RUNS: Readonly<Record<string, EngineSettings>> = {
  batchtopk: batchtopk(),
  'batchtopk, momentum': batchtopk({}, { beta1: 0.9 }),
  'batchtopk, all that is above 0': batchtopk({ k: 140 }),
  'batchtopk, one per token': batchtopk({ k: 1 }),
  'batchtopk, many tokens': batchtopk({ k: 3 }, { dIn: 9, dSae: 70, batch: 261 }),
  'batchtopk, another target': batchtopk({}, { dOut: 290, scaleOut: 1.3, dSae: 70 }),
  'batchtopk, only the decoder': batchtopk({}, { trained: ['W_dec', 'b_dec'] }),
  'matryoshka, momentum': matryoshka({}, { beta1: 0.9 }),
  'matryoshka, one prefix of another weight': matryoshka({ prefixes: [150], prefixWeights: [3] }),
  'matryoshka, a prefix without entries': matryoshka({ k: 1, prefixes: [1, 2, 150], prefixWeights: [1, 1, 1] }),
  'matryoshka, all that is above 0': matryoshka({ k: 140 }),
  'matryoshka, another target': matryoshka({}, { dOut: 290, scaleOut: 1.2 }),
  'matryoshka, without b_dec': matryoshka({}, { trained: ['W_enc', 'W_dec', 'b_enc'] }),
};

for (const [name, chosen] of Object.entries(RUNS)) {
  test(`ten steps agree with the reference engine: ${name}`, { skip: onDemand }, async () => {
    await agrees(chosen, 10);
  });
}

for (const chosen of [batchtopk(), USUAL]) {
  test(`300 ${chosen.architecture} steps agree with the reference engine`, { skip: onDemand }, async () => {
    await agrees(chosen, 300);
  });
}

test('with one prefix of weight 1, a matryoshka SAE is a batchtopk SAE', { skip: onDemand }, async () => {
  const chosen = matryoshka({ prefixes: [150], prefixWeights: [1] });
  const start = randomStart(chosen, -0.3);
  assert.deepEqual(await ran(chosen, [0, 5], start), await ran(batchtopk(), [0, 5], start));
});

const WITHOUT_AUXK = { k: 3, kAux: 4, auxCoefficient: 0 };
/** In which file which case is without AuxK. */
const GOLDENS = {
  batchtopk: { name: 'none', options: WITHOUT_AUXK },
  matryoshka: {
    name: 'plain',
    options: { ...WITHOUT_AUXK, prefixes: [5, 6, 14, 24], prefixWeights: [1, 1, 1, 1] },
  },
} as const;

for (const architecture of ['batchtopk', 'matryoshka'] as const) {
  test(`ten ${architecture} steps equal PyTorch autograd in float64`, { skip: onDemand }, async () => {
    const { name, options } = GOLDENS[architecture];
    const golden = await openGolden(architecture);
    const small = smallSettings(architecture, { options, dIn: 8, dSae: 24, batch: 16, scale: 1, deadWindow: 24 });
    const start = new Map<string, Float32Array>();
    for (const parameter of ['W_enc', 'W_dec', 'b_dec', 'b_enc']) start.set(parameter, await golden.floats(parameter));
    const engine = await openOnCpu(small, start);
    const [all, lr] = [await golden.floats('batches'), await golden.doubles('lr')];
    for (let t = 0; t < 10; t++) await engine.step({ x: all.slice(t * 128, (t + 1) * 128) }, { lr: lr[t]!, l1: 0 });
    const { parameters } = await engine.sae();
    for (const parameter of PARAMETERS[architecture]) {
      const difference = relativeDifference(parameters[parameter]!, await golden.doubles(`${name}/${parameter}`));
      assert.ok(difference < 2e-5, `${parameter}: ${difference}`);
    }
    await engine.close();
  });
}
