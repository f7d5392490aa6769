import type { Generator } from '../../../../src/random/generator.js';
import { PARAMETERS } from '../../../../src/sae/registry.js';
import { RULES } from '../../../../src/train/engines/sparse/kernels.js';
import { padded } from '../../../../src/train/engines/sparse/memory.js';
import { assertClose, assertSame, assertZeroPadding } from './compare.js';
import { randomEntries } from './entries.js';
import { type Memory, memoryOf, normalRows, normals } from './memory.js';
import { type Architecture, type Arrays, BIASES, type StepNumbers } from './update-twin.js';

export interface Size {
  readonly features: number;
  readonly B: number;
  readonly dIn: number;
  readonly density: (feature: number) => number;
}

/** Numbers of step `step`, of sizes that make each of them count: a large rate, large ε, quick decays. */
export function stepNumbers(
  architecture: Architecture,
  dIn: number,
  step: number,
  beta1: number,
  beta2 = 0.9,
): StepNumbers {
  return {
    d: padded(dIn),
    step,
    lr: 0.2,
    // A standard SAE has no g.
    l1: architecture === 'gated' ? 0.15 : 0,
    l1F: architecture === 'gated' ? 0 : 0.15,
    unfrozen: 0,
    pulls: 1,
    beta1,
    beta2,
    fresh1: 1 - beta1,
    fresh2: 1 - beta2,
    correction1: 1 / (1 - beta1 ** step),
    correction2: 1 / (1 - beta2 ** step),
    epsilon: 0.05,
  };
}

/** Every array that the update of a slice reads or writes, in the middle of a run. */
export function randomArrays(random: Generator, architecture: Architecture, size: Size, beta1: number): Arrays {
  const { features, B, dIn, density } = size;
  const arrays: Arrays = {};
  for (const name of ['xc', 'r', 'r_aux']) arrays[name] = normalRows(random, B, dIn, name === 'xc' ? 1 : 0.5);
  for (const name of PARAMETERS[architecture]) {
    if (name === 'b_dec') continue;
    const make = (scale: number) =>
      name.startsWith('W') ? normalRows(random, features, dIn, scale) : normals(random, features, scale);
    arrays[name] = make(name.startsWith('W') ? 1 : 0.5);
    if (beta1 > 0) arrays[`m/${name}`] = make(0.5);
    arrays[`v/${name}`] = make(1).map((x) => x * x);
  }
  const d = padded(dIn);
  const dec = arrays.W_dec!;
  for (let j = 0; j < features; j++) {
    const row = dec.subarray(j * d, (j + 1) * d);
    row.set(row.map((value) => value / Math.hypot(...row)));
  }
  if (architecture === 'gated') arrays.exp_r_mag = Float32Array.from(arrays.r_mag!, Math.exp);
  // Some magnitudes are negative although their gate is open.
  const entries = randomEntries(random, features, B, density, () => random.normal() + 0.3);
  arrays.entry_start = entries.entryStart;
  arrays.token = entries.token;
  arrays.p = entries.p;
  arrays.updated = new Uint32Array(features);
  for (const name of ['g_enc', 'g_dec']) arrays[name] = normals(random, d);
  arrays.pull = normalRows(random, 1, dIn);
  arrays.sums = new Float32Array(4);
  return arrays;
}

/** The kernels on such arrays, with their blocks. */
export function memoryAt(arrays: Arrays, architecture: Architecture, numbers: StepNumbers) {
  const memory = memoryOf(arrays);
  // What a run does without lies at 0.
  const at = (name: string) => (name in arrays ? memory.at(name) : 0);
  const { d, step, lr, pulls, beta1, beta2, fresh1, fresh2, correction1, correction2, epsilon } = numbers;
  const bias = architecture === 'gated' ? 'b_gate' : 'b_enc';
  const block = memory.block('Step', {
    clip: 1,
    ...{ rule: RULES[architecture === 'gated' ? 'gated' : 'relu'], features: arrays.updated!.length, dIn: d, dOut: d },
    ...{ step, lr, pulls, beta1, beta2, fresh1, fresh2, correction1, correction2, epsilon, xc: at('xc') },
    ...{ wEnc: at('W_enc'), mEnc: at('m/W_enc'), vEnc: at('v/W_enc') },
    ...{ wDec: at('W_dec'), mDec: at('m/W_dec'), vDec: at('v/W_dec') },
    ...{ bias: at(bias), mBias: at(`m/${bias}`), vBias: at(`v/${bias}`) },
    ...{ shift: at('b_mag'), mShift: at('m/b_mag'), vShift: at('v/b_mag') },
    ...{ rMag: at('r_mag'), mRMag: at('m/r_mag'), vRMag: at('v/r_mag'), factor: at('exp_r_mag') },
    ...{ updated: at('updated'), gEnc: at('g_enc'), gDec: at('g_dec'), sums: at('sums'), pull: at('pull') },
  });
  const list = memory.block('Entries', {
    ...{ start: at('entry_start'), token: at('token'), p: at('p'), r: at('r') },
    second: architecture === 'gated' ? at('r_aux') : 0,
    ...{ unfrozen: numbers.unfrozen, l1: numbers.l1, l1F: numbers.l1F },
  });
  return { ...memory, step: block, list };
}

/** Names of what an update changes, `pull` aside; of what is not trained, nothing. */
export function changedNames(architecture: Architecture, beta1: number, frozen: readonly string[] = []): string[] {
  const names = ['W_enc', 'W_dec', ...BIASES[architecture]].filter((name) => !frozen.includes(name));
  return names.flatMap((name) => [name, ...(beta1 > 0 ? [`m/${name}`] : []), `v/${name}`]);
}

/** Compares every array, rows each on their own scale; features that `moved` denies keep their bits. */
export function assertUpdated(
  memory: Memory<Arrays>,
  before: Arrays,
  wanted: Record<string, Float64Array>,
  names: readonly string[],
  size: Size,
  moved: (feature: number) => boolean,
): void {
  const d = padded(size.dIn);
  for (const name of names) {
    const now = memory.now[name] as Float32Array;
    const isRows = /W_(enc|dec)$/.test(name);
    if (isRows) assertZeroPadding(now, size.dIn, d, name);
    const length = isRows ? d : 1;
    for (let j = 0; j < size.features; j++) {
      const part = now.subarray(j * length, (j + 1) * length);
      if (!moved(j)) assertSame(part, before[name]!.subarray(j * length, (j + 1) * length), `${name} of feature ${j}`);
      else if (isRows) {
        assertClose(part, wanted[name]!.subarray(j * length, (j + 1) * length), `${name} of feature ${j}`, 1e-5);
      }
    }
    if (!isRows) assertClose(now, wanted[name]!, name, 1e-5);
  }
  assertClose(memory.now.pull!, wanted.pull!, 'pull', 1e-5);
  assertSame(memory.now.updated!, wanted.updated!, 'updated');
  const inputs = ['xc', 'r', 'r_aux', 'entry_start', 'token', 'p', 'exp_r_mag'].filter((name) => name in before);
  for (const name of inputs) assertSame(memory.now[name]!, before[name]!, name);
  memory.assertMargins();
}
