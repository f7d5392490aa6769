import { WASM_PAGE } from '../../../machine/webassembly.js';
import type { SparseForm } from '../../../sae/architecture.js';
import type { ParameterName, Sizes } from '../../../sae/sae.js';
import type { SettledSettings } from '../engine.js';
import { blockLength } from './kernels.js';

const TYPES = {
  f32: Float32Array,
  f64: Float64Array,
  u32: Uint32Array,
  u16: Uint16Array,
  u8: Uint8Array,
  i8: Int8Array,
  i32: Int32Array,
} as const;

type Views = { [T in keyof typeof TYPES]: InstanceType<(typeof TYPES)[T]> };
type ElementType = keyof Views;

/** Arrays are aligned to cache lines. */
const LINE = 64;
/** Max bytes of a WebAssembly.Memory. */
export const LARGEST_MEMORY = WASM_PAGE * WASM_PAGE;

/** Layout of named arrays in a memory yet to be created; address 0 stays unused. */
export class Plan {
  bytes = LINE;
  private readonly places = new Map<string, { type: ElementType; pointer: number; length: number }>();

  add(name: string, type: ElementType, length: number): void {
    if (this.places.has(name)) throw new Error(`array ${name} is planned twice`);
    this.places.set(name, { type, pointer: this.bytes, length });
    this.bytes += Math.ceil((length * TYPES[type].BYTES_PER_ELEMENT) / LINE) * LINE;
  }

  at(name: string): { type: ElementType; pointer: number; length: number } {
    const place = this.places.get(name);
    if (!place) throw new Error(`no array ${name} is planned`);
    return place;
  }

  has(name: string): boolean {
    return this.places.has(name);
  }
}

/**
 * Named arrays in one WebAssembly.Memory, which kernels access by address and ONNX Runtime by view. The memory never
 * grows, so views stay valid; pages that are not written cost nothing.
 */
export class Arena {
  readonly memory: WebAssembly.Memory;

  constructor(private readonly plan: Plan) {
    const pages = Math.ceil(plan.bytes / WASM_PAGE);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  }

  has(name: string): boolean {
    return this.plan.has(name);
  }

  /** Address of an array; 0, which no kernel reads, for an array this run does not need. */
  pointer(name: string): number {
    return this.plan.has(name) ? this.plan.at(name).pointer : 0;
  }

  f32(name: string, from = 0, length?: number): Float32Array {
    return this.view('f32', name, from, length);
  }

  u32(name: string): Uint32Array {
    return this.view('u32', name, 0);
  }

  f64(name: string): Float64Array {
    return this.view('f64', name, 0);
  }

  /** A view of `length` elements of an array from element `from` on. */
  view<T extends ElementType>(type: T, name: string, from: number, length?: number): Views[T] {
    const place = this.plan.at(name);
    const size = TYPES[type].BYTES_PER_ELEMENT;
    const bytes = place.length * TYPES[place.type].BYTES_PER_ELEMENT;
    const count = length ?? bytes / size - from;
    if ((from + count) * size > bytes) throw new Error(`view beyond array ${name}`);
    return new TYPES[type](this.memory.buffer, place.pointer + from * size, count) as Views[T];
  }
}

/** Number of features whose pre-activations are computed at a time. */
export const STRIP = 256;
/** A strip with more candidates than this fraction of its entries uses the float32 product. */
export const MOST_CANDIDATES = 1 / 4;
/** A strip with more active entries than this fraction is processed densely. */
export const MOST_ENTRIES = 1 / 4;

/** Rows are padded to complete cache lines of float32. */
export function padded(length: number): number {
  return Math.ceil(length / 16) * 16;
}

/** Max entries of a slice. */
export function entryCapacity(features: number, batch: number): number {
  return Math.floor(features / STRIP) * entryLimit(STRIP, batch) + entryLimit(features % STRIP, batch);
}

/** Max entries that a strip may add before it is processed densely; small strips are always sparse. */
export function entryLimit(rows: number, batch: number): number {
  return Math.ceil(rows * batch * MOST_ENTRIES);
}

/** Max entries per token; 0 for no limit. */
export function limitOf({ select }: SparseForm): number {
  return select.kind === 'k-per-token' ? select.k : 0;
}

/** Max entries per batch; 0 for no limit. */
export function limitOfBatch({ select }: SparseForm, batch: number): number {
  return select.kind === 'k-per-batch' ? select.k * batch : 0;
}

/** Number of entries of a batch beyond which those no longer among the largest are dropped. */
export function roomOfBatch(kept: number): number {
  return Math.ceil(1.25 * kept);
}

/** Max values of a digit by which entries of a batch are counted. */
export const TALLY = 2 ** 11;
/**
 * Number of tallies that a worker shares per step: one for each of three digits, and the first again if a guess fails.
 */
export const TALLIES = 4;

/** Is the number of entries limited, so that no strip is processed densely? */
export function isLimited({ select }: SparseForm): boolean {
  return select.kind === 'k-per-token' || select.kind === 'k-per-batch';
}

/**
 * Arrays [B, d_out] of partial sums per level (levels.ts), shortest prefix first; the last has the residual of the
 * complete SAE.
 */
export function levelSums({ prefixes }: SparseForm): readonly string[] {
  return (prefixes ?? [undefined]).map((_, i, all) => (i === all.length - 1 ? 'r' : `r/${i}`));
}

/** Arrays [B, d_out] of partial reconstructions that workers exchange. */
export function exchangedSums(form: SparseForm): readonly string[] {
  return form.second ? ['r', 'r_aux'] : levelSums(form);
}

/** Does the gradient depend on a token's number of features over all slices? */
export function countsTokens({ jump }: SparseForm): boolean {
  return jump?.penalty.kind === 'quadratic';
}

/** The settings that determine a worker's memory layout. */
export interface SliceShape {
  readonly settings: SettledSettings;
  readonly form: SparseForm;
  readonly features: number;
  readonly workers: number;
}

/** The arrays of a worker that owns `features` features, with W_enc feature-major like W_dec. */
export function planSlice(shape: SliceShape): Plan {
  const plan = new Plan();
  planState(plan, shape);
  planBatch(plan, shape);
  planStrip(plan, shape);
  planLists(plan, shape);
  planSkip(plan, shape);
  const { form, features, settings } = shape;
  const dIn = padded(settings.dIn);
  const dOut = padded(settings.dOut ?? settings.dIn);
  plan.add('g_enc', 'f32', dIn);
  plan.add('g_dec', 'f32', dOut);
  plan.add('sums', 'f32', 4);
  plan.add('pull', 'f32', dIn);
  plan.add('column', 'f32', dOut);
  for (const [array, block] of [
    ['step', 'Step'],
    ['x_block', 'Quantised'],
    ['w_block', 'Quantised'],
    ['x_side', 'Side'],
    ['y_side', 'Side'],
  ] as const) {
    plan.add(array, 'u32', blockLength(block));
  }
  if (isLimited(form)) return plan;
  // Dense passes: gradients of half a strip.
  const half = stripOf(features) / 2;
  plan.add('strip_enc', 'f32', half * dIn);
  plan.add('strip_dec', 'f32', half * dOut);
  if (form.second?.trainsDecoder) plan.add('strip_aux', 'f32', half * dOut);
  plan.add('strip_sums', 'f32', 8 * half);
  return plan;
}

const stripOf = (features: number) => Math.min(STRIP, padded(features));

/** Parameters, Adam's moments of trained ones, and counters per feature. */
function planState(plan: Plan, { settings, form, features, workers }: SliceShape): void {
  const [dIn, dOut] = [padded(settings.dIn), padded(settings.dOut ?? settings.dIn)];
  const lengths: Partial<Record<ParameterName, number>> = {
    W_enc: features * dIn,
    W_dec: features * dOut,
    b_dec: dOut,
    W_skip: Math.ceil((settings.dOut ?? 0) / workers) * dIn,
  };
  for (const name of settings.parameters) {
    const length = lengths[name] ?? features;
    plan.add(name, 'f32', length);
    if (!settings.trained.includes(name)) continue;
    if (settings.beta1 > 0) plan.add(`m/${name}`, 'f32', length);
    plan.add(`v/${name}`, 'f32', length);
  }
  plan.add('since_fired', 'f32', features);
  plan.add('updated', 'u32', features);
  plan.add('fired', 'u32', features);
  plan.add('factor', 'f32', features);
  if (form.select.kind === 'threshold') plan.add('opens', 'f32', features);
}

/** Inputs and outputs of a skip connection's products, for a worker's share of the target's columns. */
function planSkip(plan: Plan, { settings, workers }: SliceShape): void {
  if (!settings.skip) return;
  const columns = Math.ceil(settings.dOut! / workers);
  plan.add('skip_share', 'f32', settings.batch * columns);
  plan.add('skip_gradient', 'f32', columns * padded(settings.dIn));
}

/** The batch as read, encoder inputs, targets and residuals; per token the bounds of its int8 products. */
function planBatch(plan: Plan, { settings, form }: SliceShape): void {
  const { batch, dOut: width } = settings;
  const [dIn, dOut] = [padded(settings.dIn), padded(settings.dOut ?? settings.dIn)];
  const Bp = padded(batch);
  const stored = settings.batchDType === 'float32' ? 'f32' : 'u16';
  plan.add('batch', stored, batch * settings.dIn);
  plan.add('x_factors', 'f32', dIn);
  plan.add('xc', 'f32', Bp * dIn);
  if (width !== undefined) {
    plan.add('target', stored, batch * width);
    plan.add('y_factors', 'f32', dOut);
    plan.add('nothing', 'f32', dIn);
    plan.add('yc', 'f32', Bp * dOut);
  }
  for (const name of levelSums(form)) plan.add(name, 'f32', Bp * dOut);
  if (form.jump) plan.add('weights', 'f32', Bp);
  if (countsTokens(form)) plan.add('counts', 'f32', Bp);
  if (form.second || form.auxK) plan.add('r_aux', 'f32', Bp * dOut);
  plan.add('received', 'f32', Bp * Math.max(dIn, dOut));
  plan.add('x_q', 'i8', Bp * dIn);
  // 1 / step, error and length, [Bp] each: the screen reads them at a distance of Bp.
  plan.add('x_numbers', 'f32', 3 * Bp);
}

/** One tile, the pre-activations of two strips; a quantised strip, and its candidates. */
function planStrip(plan: Plan, { settings, form, features }: SliceShape): void {
  const { batch, dIn } = settings;
  const strip = stripOf(features);
  plan.add('tile', 'f32', 2 * strip * padded(batch));
  plan.add('w_q', 'u8', strip * padded(dIn));
  for (const name of ['w_inverse', 'w_error', 'w_length']) plan.add(name, 'f32', strip);
  plan.add('candidate_start', 'u32', strip + 1);
  // With a limit, a few rows are screened at a time, and all of them may be candidates.
  const most = isLimited(form) ? ROWS_AT_ONCE * batch : 0;
  plan.add('candidates', 'u32', Math.max(candidateCapacity(strip, batch), most) + 16);
  plan.add('dots', 'f32', 8);
}

/**
 * Lists of entries, whose array names start with these: those that reconstruct the target, and those of dead features
 * for AuxK.
 */
export const LISTS = ['main', 'dead'] as const;
export type ListName = (typeof LISTS)[number];

/** Features screened at a time if the number of entries is limited, so that thresholds rise within a strip. */
export const ROWS_AT_ONCE = 32;

/** Number of entries per token, in units of k, at which those no longer among the k largest are dropped. */
const SPARE = 4;

/** Max entries of a list. */
export function listCapacity({ settings, form, features }: SliceShape, list: ListName): number {
  const k = list === 'main' ? limitOf(form) : (form.auxK?.k ?? 0);
  const kept = limitOfBatch(form, settings.batch);
  if (list === 'main' && kept > 0) {
    return Math.min(features * settings.batch, roomOfBatch(kept) + ROWS_AT_ONCE * settings.batch);
  }
  if (k === 0) return entryCapacity(features, settings.batch);
  // Entries kept from earlier strips, as many that are now below the k largest, and all of the next strip.
  return settings.batch * Math.min(features, SPARE * k + STRIP);
}

function planLists(plan: Plan, shape: SliceShape): void {
  const { settings, form, features, workers } = shape;
  const { batch, dIn } = settings;
  const limits = { main: limitOf(form), dead: form.auxK?.k ?? 0 };
  for (const list of form.auxK ? (['main', 'dead'] as const) : (['main'] as const)) {
    const entries = listCapacity(shape, list) + 16;
    plan.add(`${list}/block`, 'u32', blockLength('Entries'));
    plan.add(`${list}/start`, 'u32', features + 1);
    plan.add(`${list}/token_start`, 'u32', batch + 1);
    for (const name of ['token', 'feature']) plan.add(`${list}/${name}`, 'u32', entries);
    for (const name of ['p', 'f']) plan.add(`${list}/${name}`, 'f32', entries);
    if (form.rule === 'gated') plan.add(`${list}/g`, 'f32', entries);
    plan.add(`${list}/totals`, 'f64', 3);
    if (list === 'main' && form.select.kind === 'k-per-batch') {
      plan.add('main/above', 'f32', padded(batch));
      plan.add('main/floor', 'f32', 1);
      plan.add('main/ties', 'u32', 1);
      plan.add('tally', 'u32', TALLY);
    }
    if (limits[list] === 0) continue;
    // One more heap than the part of the batch.
    plan.add(`${list}/top`, 'f32', (batch + 1) * limits[list]);
    plan.add(`${list}/above`, 'f32', padded(batch));
    plan.add(`${list}/floor`, 'f32', batch);
    plan.add(`${list}/ties`, 'u32', batch);
  }
  if (limits.main > 0) plan.add('guesses', 'f32', batch);
  const most = Math.max(...Object.values(limits));
  if (most > 0) {
    // Heaps of all workers for a worker's share of the batch.
    plan.add('heaps', 'f32', (batch + workers + 1) * most);
    plan.add('heap_ties', 'u32', batch + workers);
  }
  if (!form.auxK) return;
  plan.add('dead', 'u32', features);
  plan.add('dead_rows', 'f32', stripOf(features) * padded(dIn));
}

/** Max candidates of a strip. */
export function candidateCapacity(rows: number, batch: number): number {
  return Math.ceil(rows * batch * MOST_CANDIDATES);
}

/** Features [first, last) of worker `index`: parts as equal as possible. */
export function featuresOf(dSae: number, index: number, workers: number): readonly [first: number, last: number] {
  return [Math.floor((dSae * index) / workers), Math.floor((dSae * (index + 1)) / workers)];
}

/** Layout of a state array in a worker's memory. */
type Layout = 'columns' | 'rows' | 'numbers' | 'whole' | 'outputs';

function layoutOf(name: string): Layout {
  const parameter = name.replace(/^[mv]\//, '');
  if (parameter === 'W_enc') return 'columns';
  if (parameter === 'W_dec') return 'rows';
  if (parameter === 'W_skip') return 'outputs';
  return parameter === 'b_dec' ? 'whole' : 'numbers';
}

/** The part of an array that belongs to worker `index`: features, or for W_skip columns of the target. */
export function rangeOf(
  name: string,
  { dOut, dSae }: Sizes,
  index: number,
  workers: number,
): readonly [first: number, last: number] {
  return featuresOf(layoutOf(name) === 'outputs' ? dOut : dSae, index, workers);
}

/** The part [first, last) of an array, from rangeOf: W_enc transposed, rows padded. */
export function takePart(
  name: string,
  values: Float32Array,
  { dIn, dOut, dSae }: Sizes,
  [first, last]: readonly [number, number],
): Float32Array<ArrayBuffer> {
  const layout = layoutOf(name);
  if (layout === 'numbers') return values.slice(first, last);
  if (layout === 'whole') {
    const part = new Float32Array(padded(dOut));
    part.set(values);
    return part;
  }
  const width = layout === 'rows' ? dOut : dIn;
  const d = padded(width);
  const part = new Float32Array((last - first) * d);
  if (layout !== 'columns') {
    for (let j = first; j < last; j++) part.set(values.subarray(j * width, (j + 1) * width), (j - first) * d);
    return part;
  }
  for (let i = 0; i < dIn; i++) {
    const row = values.subarray(i * dSae, (i + 1) * dSae);
    for (let j = first; j < last; j++) part[(j - first) * d + i] = row[j]!;
  }
  return part;
}

/** Writes such a part back into the complete array. */
export function putPart(
  name: string,
  part: Float32Array,
  values: Float32Array,
  { dIn, dOut, dSae }: Sizes,
  [first, last]: readonly [number, number],
): void {
  const layout = layoutOf(name);
  const width = layout === 'rows' ? dOut : dIn;
  const d = padded(width);
  if (layout === 'numbers') values.set(part, first);
  else if (layout === 'whole') values.set(part.subarray(0, dOut));
  else if (layout !== 'columns') {
    for (let j = first; j < last; j++) values.set(part.subarray((j - first) * d, (j - first) * d + width), j * width);
  } else {
    for (let i = 0; i < dIn; i++) {
      const row = values.subarray(i * dSae, (i + 1) * dSae);
      for (let j = first; j < last; j++) row[j] = part[(j - first) * d + i]!;
    }
  }
}
