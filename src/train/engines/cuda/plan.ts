/** The device's memory: sizes that follow from the settings, every array by name, and room for entries, which grows. */
import { Refusal } from '../../../errors/refusal.js';
import type { SparseForm } from '../../../sae/architecture.js';
import type { EngineSettings } from '../engine.js';
import { followedBy, formOf, isTrained, stateBytes, stateShapes } from '../state.js';
import type { ProductPrecision } from './device.js';
import { CUT_BYTES, TALLY_BYTES } from './kernels/largest-of-batch.js';
import { prefixesOf } from './kernels/levels.js';
import { METRIC_SUMS } from './kernels/numbers.js';
import { SCAN_TILE } from './kernels/scan.js';

/** Bytes of pre-activations in memory at a time, whatever the size of the dictionary. */
const SLICE_BYTES = 2 ** 28;
/** Bytes per piece in which the state crosses to and from the device. */
export const PIECE_BYTES = 2 ** 26;
/** Lanes of a warp; features in a word of the mask. */
export const WARP = 32;
/** Tokens per warp when counting the entries of its features. */
export const CHUNK = 128;
/**
 * Blocks of the update, each with a partial sum of W_enc Σ dp: a constant, since the order of sums determines their
 * bits.
 */
const ROW_BLOCKS = 1024;
/** Initial room for entries, per token. */
const FIRST_ENTRIES = 64;
/** Arrays of an entry: feature, p, df, dg token-major, token and entry feature-major. */
export const ENTRY_ARRAYS = ['feature', 'p', 'df', 'dg', 'token', 'entry'] as const;
/** Entries are counted in int. */
const MOST_ENTRIES = 2 ** 31 - 1;
/** Extra room, as a share of the requested entries, so that the next step need not grow it again. */
const SPARE = 0.25;
/**
 * A long long, entries feature-major, and two ints, the number of dead features and whether the step returned early:
 * each starts at 0.
 */
export const COUNTER_BYTES = 16;
/**
 * Share of active entries above which a slice is computed by matrix products. A single entry costs as much as reading
 * four rows, and a product's cost does not depend on how many are active: on a GPU they cost the same between a
 * hundredth (TF32) and a sixteenth (float32), and trained SAEs have fewer.
 */
const DENSE_SHARE = 1 / 32;
/** Min entries of a feature that one block sums up. */
const PART_ENTRIES = 256;
/** Max blocks that sum up parts of features' entries. */
const MOST_PARTS = 2048;
/**
 * Steps between updates of lazy moments: a feature that was silent for 10,000 steps would delay its block by
 * milliseconds, with one multiplication per step.
 */
const SETTLE_EVERY = 256;
/** Max tokens per batch: a tile of counts is summed in int. */
const MOST_TOKENS = 2 ** 18;

/** Sizes into which work is split, and forms that no architecture has; set by tests. */
export interface PlanOverrides {
  /** Bytes of pre-activations that exist at a time. */
  readonly slice?: number;
  /** The form of the loss, if not the architecture's. */
  readonly form?: SparseForm | undefined;
  /** Share of active entries above which a slice is computed by matrix products; 1: never. */
  readonly denseShare?: number;
  /** Min entries of a feature that one block sums up. */
  readonly partEntries?: number;
  /** Steps between updates of lazy second moments. */
  readonly settleEvery?: number;
}

/** Part of an array, or all of it, under another name. */
interface View {
  readonly of: string;
  /** Bytes. */
  readonly offset: number;
}

/** Sizes that follow from the settings, and every array on the device. */
export interface CudaPlan {
  readonly form: SparseForm;
  readonly precision: ProductPrecision;
  /**
   * Length of rows of W_enc and of x on the device: d_in padded to 16 bytes of bfloat16 with zeros, which stay zero.
   */
  readonly dInRow: number;
  /** Length of rows of W_dec and of reconstructions. */
  readonly dOutRow: number;
  /** Words of 32 features in a row of the mask. */
  readonly words: number;
  /** Features whose pre-activations exist at a time. */
  readonly slice: number;
  readonly slices: number;
  /** Lists of entries, each token-major: one per slice, or one for all. */
  readonly lists: number;
  /** Max (per token) or mean (per batch) entries per token if the largest are selected; otherwise 0. */
  readonly k: number;
  /** Are the largest selected over the whole batch? */
  readonly wholeBatch: boolean;
  /** Candidates per token: from each slice as many as can be among the largest. */
  readonly candidates: number;
  /** Rows of r per token: one for each of the prefixes. */
  readonly levels: number;
  /** Max entries of dead features per token, with AuxK; otherwise 0. */
  readonly kAux: number;
  readonly deadCandidates: number;
  /** Rows of the mask: tokens, and as many again for the entries of dead features. */
  readonly rows: number;
  readonly chunks: number;
  /** Threads of a block that works on one row. */
  readonly threads: number;
  readonly rowBlocks: number;
  /** Can slices be computed by matrix products? */
  readonly dense: boolean;
  /** Slices whose active entries are counted. */
  readonly found: number;
  /** Max active entries of a slice with this many features for it to be listed; with more, matrix products are used. */
  readonly mostListed: (features: number) => number;
  readonly partEntries: number;
  readonly settleEvery: number;
  /** Max parts of features' entries. */
  readonly parts: number;
  /** Which parameters are trained, and is W_dec's dot product with the second residual needed? */
  readonly trains: Readonly<Record<'W_enc' | 'W_dec' | 'b_dec', boolean>>;
  readonly secondDots: boolean;
  /** Bytes of each array except those of entries. */
  readonly arrays: ReadonlyMap<string, number>;
  readonly views: ReadonlyMap<string, View>;
  /** Initial room for entries. */
  readonly entries: number;
  /** Max listed entries. */
  readonly mostEntries: number;
  /** Max bytes on the device. */
  readonly bytes: number;
}

/** @throws Error if the engine does not compute it; chooseEngine has refused that before */
export function planCuda(settings: EngineSettings, overrides: PlanOverrides = {}): CudaPlan {
  const { form = formOf('cuda', settings) } = overrides;
  const reason = settings.skip ? 'it has no skip connection' : lacking(form);
  if (reason !== undefined) throw new Error(`the CUDA engine cannot train ${settings.architecture}: ${reason}`);
  const sizes = sizesOfPlan(settings, form, overrides);
  const { batch, dSae } = settings;
  const { k, kAux } = sizes;
  const arrays = arraysOf(settings, sizes);
  const fixed = [...arrays.values()].reduce((sum, size) => sum + size, 0);
  const mostEntries = batch * kAux + (batch * k || Math.max(1, sumOfSlices(sizes, dSae)));
  const entries = k > 0 ? mostEntries : Math.min(mostEntries, batch * (kAux + FIRST_ENTRIES));
  const bytes = fixed + entryBytes(k > 0 ? entries : entryRoom(mostEntries, mostEntries));
  return { ...sizes, arrays, views: viewsOf(settings, sizes), entries, mostEntries, bytes };
}

function sizesOfPlan(settings: EngineSettings, form: SparseForm, overrides: PlanOverrides): PlannedSizes {
  const { slice: sliceBytes = SLICE_BYTES, denseShare = DENSE_SHARE, partEntries = PART_ENTRIES } = overrides;
  const { dIn, dOut = dIn, dSae, batch, precision = 'tf32' } = settings;
  const [dInRow, dOutRow] = [paddedRow(dIn), paddedRow(dOut)];
  const words = Math.ceil(dSae / WARP);
  const sliceWords = Math.min(words, Math.max(1, Math.floor(sliceBytes / (4 * batch * WARP))));
  const slice = sliceWords * WARP;
  const slices = Math.ceil(dSae / slice);
  const { select } = form;
  const k = select.kind === 'k-per-token' || select.kind === 'k-per-batch' ? Math.min(select.k, dSae) : 0;
  const kAux = Math.min(form.auxK?.k ?? 0, dSae);
  const rows = kAux > 0 ? 2 * batch : batch;
  const dense = k === 0 && denseShare < 1;
  const trains = (name: 'W_enc' | 'W_dec' | 'b_dec') => isTrained(settings, name);
  return {
    form,
    precision,
    dInRow,
    dOutRow,
    words,
    slice,
    slices,
    lists: k > 0 ? 1 : slices,
    k,
    wholeBatch: select.kind === 'k-per-batch',
    candidates: slices * Math.min(k, slice),
    levels: prefixesOf(form, dSae).length,
    kAux,
    deadCandidates: slices * Math.min(kAux, slice),
    rows,
    chunks: Math.ceil(rows / CHUNK),
    threads: Math.min(1024, WARP * Math.ceil(Math.max(dInRow, dOutRow) / 256)),
    rowBlocks: Math.min(ROW_BLOCKS, dSae),
    dense,
    found: k > 0 ? 0 : slices,
    mostListed: (features) => (dense ? Math.floor(denseShare * batch * features) : batch * features),
    partEntries,
    settleEvery: overrides.settleEvery ?? SETTLE_EVERY,
    parts: Math.min(MOST_PARTS, Math.ceil((2 * batch * ((k || dSae) + kAux)) / partEntries)),
    trains: { W_enc: trains('W_enc'), W_dec: trains('W_dec'), b_dec: trains('b_dec') },
    // No trained parameter may need the gradient of g.
    secondDots:
      form.second !== undefined &&
      [trains('W_enc'), isTrained(settings, form.select.bias), trains('b_dec')].includes(true),
  };
}

/** Max entries of all slices. */
function sumOfSlices({ slice, slices, mostListed }: PlannedSizes, dSae: number): number {
  return (slices - 1) * mostListed(slice) + mostListed(dSae - (slices - 1) * slice);
}

/** @throws Refusal if a count would exceed what the kernels can count to */
export function checkCounts({ batch, dSae }: EngineSettings, plan: CudaPlan): void {
  const { mostEntries, lists } = plan;
  const refused = (what: string) =>
    new Refusal(`--batch ${batch} at --d-sae ${dSae} has ${what}.`, 'Use a smaller --batch.', 'cuda/too-many-entries');
  if (batch > MOST_TOKENS) throw refused(`more activations than the ${MOST_TOKENS} that the CUDA engine takes`);
  if (Math.max(mostEntries, lists * batch) > MOST_ENTRIES) {
    throw refused(`up to ${mostEntries} active features, and the CUDA engine counts to ${MOST_ENTRIES}`);
  }
  // Per digit, the candidates of all slices plus one slice are counted in int.
  const candidates = plan.wholeBatch ? batch * (plan.candidates + plan.slice) : 0;
  if (candidates > MOST_ENTRIES) {
    throw refused(`up to ${candidates} candidates for its largest, and the CUDA engine counts to ${MOST_ENTRIES}`);
  }
}

/**
 * The part of a form that the engine does not support, to complete "--engine cuda cannot train this SAE: …"; or
 * undefined.
 */
export function lacking({ select, auxK, rule, second, prefixes }: SparseForm): string | undefined {
  if (auxK && (second || rule !== 'relu')) return 'it computes the auxiliary loss of dead features with ReLU only';
  if (second && prefixes) return 'it computes no second reconstruction next to those of prefixes';
  // Where a slice alone decides its entries, each has a list, and room for their entries is made before they are
  // counted.
  if ((auxK || prefixes) && (select.kind === 'positive' || select.kind === 'threshold')) {
    return 'it computes AuxK and prefixes only where the k largest are active';
  }
  return second && rule === 'relu' ? 'it computes a second reconstruction for gated SAEs only' : undefined;
}

type PlannedSizes = Omit<CudaPlan, 'arrays' | 'views' | 'entries' | 'mostEntries' | 'bytes'>;

/** Bytes of each array except those of entries. */
function arraysOf(settings: EngineSettings, sizes: PlannedSizes): Map<string, number> {
  const { dOut, dSae, batch } = settings;
  const { dInRow, dOutRow, words, form } = sizes;
  const arrays = new Map<string, number>();
  for (const name of stateShapes(settings).keys()) {
    const { rows, padded } = shapeOnDevice(name, settings);
    arrays.set(name, 4 * rows * padded);
  }
  for (const [name, bytes] of Object.entries(batchBytes(settings))) {
    for (const slot of [0, 1]) arrays.set(`${name}${slot}`, bytes);
  }
  if (settings.factors) {
    arrays.set('x_factors', 4 * settings.dIn);
    if (dOut !== undefined) arrays.set('y_factors', 4 * dOut);
  }
  arrays.set('xc', 4 * batch * dInRow);
  if (dOut !== undefined) arrays.set('yc', 4 * batch * dOutRow);
  if (sizes.precision === 'bfloat16') {
    arrays.set('xc_bfloat16', 2 * batch * dInRow);
    arrays.set('W_enc_bfloat16', 2 * dSae * dInRow);
  }
  arrays.set('p_slice', 4 * batch * sizes.slice);
  arrays.set('mask', 4 * sizes.rows * words);
  arrays.set('word_start', 4 * sizes.rows * words);
  arrays.set('counts', 4 * batch);
  const lists = sizes.lists + Number(sizes.kAux > 0);
  arrays.set('token_start', 4 * (lists * batch + 1));
  // Numbers of entries in the preceding lists, and of all: the first stays 0.
  arrays.set('totals', 8 * (lists + 1));
  arrays.set('tile_sums', 8 * Math.ceil(Math.max(batch, dSae) / SCAN_TILE));
  if (sizes.k > 0) addCandidates(arrays, batch, sizes);
  if (sizes.kAux > 0) addDeadArrays(arrays, batch, sizes);
  arrays.set('chunk_counts', 4 * sizes.chunks * dSae);
  arrays.set('feature_counts', 4 * dSae);
  arrays.set('feature_start', 4 * (dSae + 1));
  arrays.set('updated', 4 * dSae);
  arrays.set('r', 4 * (sizes.levels * batch + sizes.rows - batch) * dOutRow);
  if (form.second) arrays.set('r_aux', 4 * batch * dOutRow);
  if (sizes.found > 0) arrays.set('found', 8 * sizes.found);
  if (sizes.dense) addDenseArrays(arrays, settings, sizes);
  arrays.set('part_counts', 4 * dSae);
  arrays.set('part_start', 4 * (dSae + 1));
  if (sizes.trains.W_enc) arrays.set('part_enc', 4 * sizes.parts * dInRow);
  if (sizes.trains.W_dec) arrays.set('part_dec', 4 * sizes.parts * dOutRow);
  arrays.set('token_sums', 4 * 4 * batch);
  arrays.set('variance', 4 * Math.ceil(dOutRow / WARP));
  arrays.set('dp_sum', 4 * dSae);
  if (sizes.trains.b_dec) {
    if (dOut === undefined) {
      arrays.set('pull_parts', 4 * sizes.rowBlocks * dInRow);
      arrays.set('pull', 4 * dInRow);
    }
    for (const name of ['r_sum', 'r_aux_sum']) arrays.set(name, 4 * dOutRow);
  }
  arrays.set('counters', COUNTER_BYTES);
  arrays.set('metrics', metricsBytes(sizes));
  return arrays;
}

/** Candidates from the slices, among which the largest are selected. */
function addCandidates(
  arrays: Map<string, number>,
  batch: number,
  { k, wholeBatch, candidates, slices }: PlannedSizes,
): void {
  for (const name of ['candidate', 'candidate_p']) arrays.set(name, 4 * batch * candidates);
  if (wholeBatch) {
    arrays.set('candidate_start', 4 * (slices * batch + 1));
    // Like `totals`.
    arrays.set('candidate_totals', 8 * (slices + 1));
    arrays.set('cut', CUT_BYTES);
    arrays.set('tallies', TALLY_BYTES);
  } else {
    arrays.set('candidate_counts', 4 * batch);
    arrays.set('chosen_p', 4 * batch * k);
  }
}

/** Arrays for selecting the largest of dead features; their entries' residual follows r. */
function addDeadArrays(
  arrays: Map<string, number>,
  batch: number,
  { kAux, deadCandidates, dOutRow }: PlannedSizes,
): void {
  for (const name of ['dead_candidate', 'dead_candidate_p']) arrays.set(name, 4 * batch * deadCandidates);
  arrays.set('dead_candidate_counts', 4 * batch);
  arrays.set('dead_p', 4 * batch * kAux);
  arrays.set('error_variance', 4 * Math.ceil(dOutRow / WARP));
}

/** Doubles: sums, and the number of entries found in each slice. */
export function metricsBytes({ found }: Pick<CudaPlan, 'found'>): number {
  return 8 * (METRIC_SUMS.length + found);
}

function addDenseArrays(
  arrays: Map<string, number>,
  { batch }: EngineSettings,
  { slice, dInRow, dOutRow, form, trains }: PlannedSizes,
): void {
  for (const name of form.second ? ['f_slice', 'g_slice'] : ['f_slice']) arrays.set(name, 4 * batch * slice);
  arrays.set('dense_sums', (form.jump ? 3 : 2) * 4 * batch);
  arrays.set('dense_r', 4 * batch * dOutRow);
  if (form.second) arrays.set('dense_r_aux', 4 * batch * dOutRow);
  if (trains.W_enc) arrays.set('enc_gradient', 4 * slice * dInRow);
  if (trains.W_dec) arrays.set('dec_gradient', 4 * slice * dOutRow);
}

function viewsOf(settings: EngineSettings, sizes: PlannedSizes): Map<string, View> {
  const followed = followedBy(settings)?.parameter;
  const { lists, words, kAux, levels, dOutRow } = sizes;
  const { select } = sizes.form;
  const { batch } = settings;
  const all = (of: string): View => ({ of, offset: 0 });
  return new Map<string, View>([
    ['bias', all(select.bias)],
    ...(followed ? [['followed', all(followed)] as const] : []),
    ['m/bias', all(`m/${select.bias}`)],
    ['v/bias', all(`v/${select.bias}`)],
    ...(settings.dOut === undefined ? [['yc', all('xc')] as const] : []),
    // A feature's gradients replace the dots of its entries.
    ['f', all('df')],
    ['dp', all('dg')],
    ['g', all('p')],
    // The second half of the rows, and the residual of all features.
    ...(kAux > 0
      ? ([
          ['dead_mask', { of: 'mask', offset: 4 * batch * words }],
          ['dead_word_start', { of: 'word_start', offset: 4 * batch * words }],
          ['r_whole', { of: 'r', offset: 4 * (levels - 1) * batch * dOutRow }],
          ['r_dead', { of: 'r', offset: 4 * levels * batch * dOutRow }],
        ] as const)
      : []),
    ['total', { of: 'totals', offset: 8 * lists }],
    ['total_by_feature', all('counters')],
    ['dead', { of: 'counters', offset: 8 }],
    ['left', { of: 'counters', offset: 12 }],
  ]);
}

/** Layout of an array of the state on the device. */
interface DeviceShape {
  /** One per feature for a matrix, otherwise one. */
  readonly rows: number;
  readonly width: number;
  /** Elements from one row to the next; arrays with a row per feature, and b_dec, are padded. */
  readonly padded: number;
  /** Is it stored by columns in the state? W_enc [d_in, d_sae] is. */
  readonly transposed: boolean;
}

export function shapeOnDevice(name: string, { dIn, dOut = dIn, dSae }: EngineSettings): DeviceShape {
  const transposed = name.endsWith('W_enc');
  if (transposed) return { rows: dSae, width: dIn, padded: paddedRow(dIn), transposed };
  if (name.endsWith('W_dec')) return { rows: dSae, width: dOut, padded: paddedRow(dOut), transposed };
  if (name.endsWith('b_dec')) return { rows: 1, width: dOut, padded: paddedRow(dOut), transposed };
  return { rows: 1, width: dSae, padded: dSae, transposed };
}

function paddedRow(width: number): number {
  return 8 * Math.ceil(width / 8);
}

/** Bytes of x in a batch, and of its target if that is different. */
export function batchBytes({
  batch,
  dIn,
  dOut,
  batchDType,
}: EngineSettings): Readonly<Partial<Record<'x' | 'y', number>>> {
  const bytes = batch * (batchDType === 'float32' ? 4 : 2);
  return dOut === undefined ? { x: bytes * dIn } : { x: bytes * dIn, y: bytes * dOut };
}

/** Bytes on the host: a copy of the state for a checkpoint, the batches in transfer, and a piece of the state. */
export function hostBytes(settings: EngineSettings): number {
  const { x = 0, y = 0 } = batchBytes(settings);
  return stateBytes(settings) + 2 * (x + y) + PIECE_BYTES;
}

/** Number of entries to allocate if this many, out of at most `most`, are requested. */
export function entryRoom(entries: number, most: number): number {
  return Math.min(Math.ceil(entries * (1 + SPARE)), most);
}

/** Bytes of the arrays for this many entries. */
export function entryBytes(entries: number): number {
  return ENTRY_ARRAYS.length * 4 * entries;
}
