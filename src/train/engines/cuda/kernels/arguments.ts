/** What kernels take: one struct of named fields per kernel, passed by value. */
import type { DevicePointer } from '../device.js';

/** Element types of the arrays that kernels are given. */
const ARRAYS = {
  // The batch as it comes, centred, and what is to be reconstructed, less b_dec.
  x: 'Stored',
  y: 'Stored',
  x_factors: 'float',
  y_factors: 'float',
  xc: 'float',
  xc_bfloat16: 'unsigned short',
  yc: 'float',
  // Parameters, their moments, and what else is kept from step to step; `bias` is that of the selection.
  W_enc: 'float',
  m_W_enc: 'float',
  v_W_enc: 'float',
  W_enc_bfloat16: 'unsigned short',
  W_dec: 'float',
  m_W_dec: 'float',
  v_W_dec: 'float',
  b_dec: 'float',
  m_b_dec: 'float',
  v_b_dec: 'float',
  bias: 'float',
  m_bias: 'float',
  v_bias: 'float',
  b_mag: 'float',
  m_b_mag: 'float',
  v_b_mag: 'float',
  r_mag: 'float',
  m_r_mag: 'float',
  v_r_mag: 'float',
  threshold: 'float',
  m_threshold: 'float',
  v_threshold: 'float',
  since_fired: 'float',
  updated: 'int',
  /** The parameter that follows the smallest activation. */
  followed: 'float',
  // Selection.
  p_slice: 'float',
  mask: 'unsigned',
  counts: 'int',
  starts: 'int',
  tile_sums: 'long long',
  before: 'long long',
  end: 'long long',
  // Of the k largest per token, or of the k · B largest of the batch.
  candidate: 'int',
  candidate_p: 'float',
  candidate_counts: 'int',
  chosen_p: 'float',
  candidate_start: 'int',
  cut: 'BatchCut',
  tallies: 'int',
  token_start: 'int',
  word_start: 'int',
  total: 'long long',
  // Entries token-major, and their places feature-major; f, dp and g lie where df, dg and p were.
  feature: 'int',
  p: 'float',
  df: 'float',
  dg: 'float',
  f: 'float',
  dp: 'float',
  g: 'float',
  chunk_counts: 'int',
  feature_counts: 'int',
  feature_start: 'int',
  token: 'int',
  entry: 'int',
  // A slice that is not listed: f and g of its entries, sums over its features, and gradients.
  f_slice: 'float',
  g_slice: 'float',
  dense_sums: 'float',
  dense_r: 'float',
  dense_r_aux: 'float',
  enc_gradient: 'float',
  dec_gradient: 'float',
  found: 'long long',
  /** Is the step to be done again? */
  left: 'int',
  // Residuals and sums.
  r: 'float',
  r_aux: 'float',
  r_sum: 'float',
  r_aux_sum: 'float',
  dp_sum: 'float',
  part_counts: 'int',
  part_start: 'int',
  part_enc: 'float',
  part_dec: 'float',
  pull_parts: 'float',
  pull: 'float',
  token_sums: 'float',
  variance: 'float',
  // AuxK: Σ (r − r̄)² of 32 columns each, r of all features, and the gradient by the reconstruction of the error.
  error_variance: 'float',
  r_whole: 'float',
  r_dead: 'float',
  dead: 'int',
  metrics: 'double',
  // What sums of columns and copies of rows are given.
  from: 'float',
  to: 'float',
  matrix: 'float',
  piece: 'float',
} as const;

/** Types of the numbers that kernels are given. */
const NUMBERS = {
  room: 'long long',
  /** Entries of a slice above which it is not listed. */
  limit: 'long long',
  listed: 'int',
  dense: 'int',
  /** Lists of candidates, those of the slices before. */
  lists: 'int',
  /** A digit: of which number, and its lowest bit. */
  part: 'int',
  shift: 'int',
  fresh: 'int',
  first: 'int',
  count: 'int',
  /** Max entries of a token that are selected; 0 if a slice alone decides them. */
  most: 'int',
  /** Places of a token among `candidate`. */
  candidates: 'int',
  /** Are they of dead features alone? */
  from_dead: 'int',
  n: 'int',
  chunks: 'int',
  rows: 'int',
  width: 'int',
  padded: 'int',
  transposed: 'int',
  step: 'int',
  lr: 'float',
  /** λ / B */
  l1: 'float',
  /** 1 / (1 − β1^t), 1 / (1 − β2^t) */
  correction1: 'float',
  correction2: 'float',
} as const;

export type ArrayField = keyof typeof ARRAYS;
export type NumberField = keyof typeof NUMBERS;
export type Field = ArrayField | NumberField;

interface Takes {
  readonly reads?: readonly ArrayField[];
  readonly writes: readonly ArrayField[];
  readonly numbers?: readonly NumberField[];
}

const ENTRIES = ['token_start', 'feature', 'p', 'left'] as const;
const RANGE = ['first', 'count'] as const;
const CANDIDATES = ['candidate', 'candidate_p', 'candidate_start', 'bias', 'cut'] as const;
const STEP = ['step', 'lr', 'l1', 'correction1', 'correction2'] as const;
const SCALARS = ['bias', 'b_mag', 'r_mag', 'threshold'] as const;
/** What `scalarsAt` reads, of one rule or another. */
const OF_FEATURE = [...SCALARS, 'since_fired'] as const;
const SCALAR_MOMENTS = [
  ...(['m_bias', 'v_bias', 'm_b_mag', 'v_b_mag', 'm_r_mag', 'v_r_mag', 'm_threshold', 'v_threshold'] as const),
] as const;
const FEATURE_STATE = [...SCALARS, ...SCALAR_MOMENTS, 'dp_sum', 'since_fired', 'dead'] as const;
/** Entries feature-major, what their gradients are made of, and where many of a feature were summed up before. */
const BY_FEATURE = [
  ...(['feature_start', 'token', 'entry', 'f', 'dp', 'g', 'xc', 'r', 'r_aux', 'part_start', 'left'] as const),
] as const;
const PIECE = ['first', 'count', 'width', 'padded', 'transposed'] as const;

/** What each kernel takes. The kernels' structs and what is packed for a launch both come from here. */
const KERNELS = {
  centre: { reads: ['x', 'x_factors', 'b_dec'], writes: ['xc', 'xc_bfloat16'] },
  centreTarget: { reads: ['y', 'y_factors', 'b_dec'], writes: ['yc'] },
  centreScaled: { reads: ['b_dec'], writes: ['xc', 'xc_bfloat16', 'yc'] },
  variance: { reads: ['yc'], writes: ['variance'] },
  mark: { reads: ['p_slice', ...OF_FEATURE], writes: ['mask', 'counts'], numbers: ['first', 'count', 'listed'] },
  shortlist: {
    reads: ['p_slice', 'bias', 'since_fired'],
    writes: ['candidate', 'candidate_p', 'candidate_counts'],
    numbers: ['first', 'count', 'most', 'candidates', 'from_dead'],
  },
  choose: {
    reads: ['candidate', 'candidate_p', 'candidate_counts', 'bias'],
    writes: ['mask', 'counts', 'chosen_p'],
    numbers: ['most', 'candidates'],
  },
  openCut: { writes: ['cut'], numbers: ['fresh'] },
  tally: {
    reads: ['p_slice', ...CANDIDATES],
    writes: ['tallies'],
    numbers: [...RANGE, 'lists', 'part', 'shift'],
  },
  pick: { writes: ['cut', 'tallies'], numbers: ['part', 'shift'] },
  markLargest: { reads: ['p_slice', 'bias', 'cut'], writes: ['mask', 'counts'], numbers: RANGE },
  keepLargest: { reads: CANDIDATES, writes: ['mask', 'counts'] },
  placeLargest: { reads: [...CANDIDATES, 'mask', 'token_start'], writes: ['feature', 'p', 'word_start'] },
  sumTiles: { reads: ['counts'], writes: ['tile_sums'], numbers: ['n'] },
  scan: { reads: ['counts', 'tile_sums', 'before'], writes: ['starts', 'end'], numbers: ['n'] },
  judge: {
    reads: ['before'],
    writes: ['starts', 'end', 'found', 'left'],
    numbers: ['listed', 'limit', 'room'],
  },
  activate: {
    reads: ['p_slice', ...OF_FEATURE],
    writes: ['f_slice', 'g_slice', 'dense_sums'],
    numbers: RANGE,
  },
  denseFeatures: {
    reads: ['token_sums', 'updated', 'left'],
    writes: [...(['p_slice', 'f_slice', 'g_slice', 'feature_counts'] as const), ...FEATURE_STATE],
    numbers: [...STEP, ...RANGE],
  },
  gather: {
    reads: ['p_slice', 'chosen_p', 'mask', 'token_start', 'total'],
    writes: ['word_start', 'feature', 'p'],
    numbers: ['first', 'count', 'most', 'room'],
  },
  countColumns: { reads: ['mask'], writes: ['chunk_counts'], numbers: ['rows'] },
  prefixChunks: { writes: ['chunk_counts', 'feature_counts'], numbers: ['chunks'] },
  fillColumns: {
    reads: ['mask', 'word_start', 'chunk_counts', 'feature_start', 'left'],
    writes: ['token', 'entry'],
    numbers: ['rows'],
  },
  decode: {
    reads: ['yc', 'W_dec', 'dense_r', 'dense_r_aux', 'dense_sums', ...OF_FEATURE, ...ENTRIES],
    writes: ['r', 'r_aux', 'token_sums'],
    numbers: ['dense'],
  },
  decodeDead: {
    reads: ['W_dec', 'r_whole', 'variance', 'error_variance', ...OF_FEATURE, ...ENTRIES],
    writes: ['r_dead', 'token_sums'],
  },
  dots: { reads: ['W_dec', 'r', 'r_aux', ...OF_FEATURE, ...ENTRIES], writes: ['df', 'dg'] },
  features: {
    reads: [
      ...([
        'token_start',
        'feature_start',
        'token',
        'entry',
        'p',
        'df',
        'dg',
        'token_sums',
        'updated',
        'left',
      ] as const),
    ],
    writes: ['f', 'dp', 'g', ...FEATURE_STATE],
    numbers: [...STEP, ...RANGE],
  },
  countParts: { reads: ['feature_start', 'total', 'left'], writes: ['part_counts'] },
  sumParts: {
    reads: [...BY_FEATURE, 'total'],
    writes: ['part_enc', 'part_dec'],
  },
  updateRows: {
    reads: [
      ...BY_FEATURE,
      ...(['dp_sum', 'part_enc', 'part_dec', 'feature_counts', 'enc_gradient', 'dec_gradient'] as const),
    ],
    writes: ['W_enc', 'm_W_enc', 'v_W_enc', 'W_enc_bfloat16', 'W_dec', 'm_W_dec', 'v_W_dec', 'updated', 'pull_parts'],
    numbers: [...STEP, ...RANGE, 'dense', 'fresh'],
  },
  sumColumns: { reads: ['from'], writes: ['to'], numbers: ['rows', 'width'] },
  updateDecoderBias: {
    reads: ['r_sum', 'r_aux_sum', 'pull', 'left'],
    writes: ['b_dec', 'm_b_dec', 'v_b_dec'],
    numbers: STEP,
  },
  follow: { reads: ['cut', 'left'], writes: ['followed'] },
  metrics: { reads: ['token_sums', 'variance', 'total', 'dead', 'left', 'found'], writes: ['metrics'] },
  toRows: { reads: ['piece'], writes: ['matrix'], numbers: PIECE },
  fromRows: { reads: ['matrix'], writes: ['piece'], numbers: PIECE },
  roundRows: { reads: ['W_enc'], writes: ['W_enc_bfloat16'] },
  settle: {
    writes: ['v_W_enc', 'v_W_dec', 'v_bias', 'v_b_mag', 'v_r_mag', 'v_threshold', 'updated'],
    numbers: ['step'],
  },
} as const satisfies Record<string, Takes>;

export type KernelName = keyof typeof KERNELS;

interface ArgumentPlace {
  readonly name: Field;
  /** In C. */
  readonly type: string;
  readonly offset: number;
}

interface ArgumentLayout {
  readonly places: readonly ArgumentPlace[];
  readonly size: number;
}

/** CUDA's bound on the parameters of a kernel. */
const MOST_BYTES = 4096;
/** Bytes of the types, which are also their alignment; pointers have 8. */
const BYTES: Readonly<Record<string, number>> = { int: 4, float: 4, 'long long': 8 };

/** As C lays a struct out: each field at a multiple of its size, the whole a multiple of the largest. */
function layoutOf({ reads = [], writes, numbers = [] }: Takes): ArgumentLayout {
  const places: ArgumentPlace[] = [];
  let size = 0;
  const add = (name: Field, type: string) => {
    const bytes = BYTES[type] ?? 8;
    const offset = Math.ceil(size / bytes) * bytes;
    places.push({ name, type, offset });
    size = offset + bytes;
  };
  for (const name of reads) add(name, `const ${ARRAYS[name]} *`);
  for (const name of writes) add(name, `${ARRAYS[name]} *`);
  for (const name of numbers) add(name, NUMBERS[name]);
  return { places, size: 8 * Math.ceil(size / 8) };
}

const LAYOUTS = Object.fromEntries(Object.entries(KERNELS).map(([name, takes]) => [name, layoutOf(takes)])) as Record<
  KernelName,
  ArgumentLayout
>;

/** `struct NAME_arguments` of every kernel. */
export function argumentStructs(): string {
  return Object.entries(LAYOUTS)
    .map(([name, { places, size }]) => {
      const fields = places.map(({ name: field, type }) => `  ${type}${type.endsWith('*') ? '' : ' '}${field};`);
      const struct = `${name}_arguments`;
      return [
        `struct ${struct} {`,
        ...fields,
        '};',
        `static_assert(sizeof(${struct}) == ${size} && ${size} <= ${MOST_BYTES}, "the host packs ${size} bytes");`,
      ].join('\n');
    })
    .join('\n');
}

/**
 * The argument of a launch, as the kernel's struct has it.
 *
 * @throws RangeError for a number that its type does not hold, or for a field without a value
 */
export function packArguments(kernel: KernelName, valueFor: (field: Field) => DevicePointer | number | undefined) {
  const { places, size } = LAYOUTS[kernel];
  const view = new DataView(new ArrayBuffer(size));
  for (const { name, type, offset } of places) {
    const value = valueFor(name);
    if (!fits(type, value)) throw new RangeError(`${kernel}: ${name} is ${value}, not of type ${type}`);
    if (type === 'int') view.setInt32(offset, Number(value), true);
    else if (type === 'float') view.setFloat32(offset, Number(value), true);
    else view.setBigInt64(offset, BigInt(value!), true);
  }
  return new Uint8Array(view.buffer);
}

// Values wrap silently where JavaScript writes them.
function fits(type: string, value: DevicePointer | number | undefined): boolean {
  if (type.endsWith('*')) return typeof value === 'bigint' && value >= 0n && value < 2n ** 64n;
  if (typeof value !== 'number') return false;
  if (type === 'int') return (value | 0) === value;
  return type === 'float' || Number.isSafeInteger(value);
}
