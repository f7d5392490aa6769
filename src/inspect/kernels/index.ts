// What RowSums.add (row-sums.ts in the folder above) adds up, two rows and two dimensions at a time, compiled to a
// WebAssembly module that imports its memory. Pointers are byte addresses.

/** Of a row's mean square: a variance below this share is what rounding leaves (activations/layer-norm.ts). */
const ALIKE = 1e-12;

/** Numbers of a row. */
let d: f64 = 0;
/** Bytes of a row's numbers as float64, padded to an even number of them. */
let length: usize = 0;
/** c, float64 [d] */
let centre: usize = 0;
/** Float64 [4, d]: Σ x, Σ x², and the same after each row was normalised. */
let sums: usize = 0;

/** Says where c and the sums are. Rows and these are padded with zeros to an even number of dimensions. */
export function place(dimensions: i32, centreAt: usize, sumsAt: usize): void {
  d = dimensions;
  length = ((dimensions + 1) & ~1) << 3;
  centre = centreAt;
  sums = sumsAt;
}

/**
 * Adds rows x, float32 [rows, d].
 *
 * @param rows even; a row of zeros changes no sum
 * @param norms float64 [rows], set to |x|²
 * @param spreads float64 [rows], set to |x − c|²
 */
export function addRows(x: usize, rows: i32, norms: usize, spreads: usize): void {
  const row = length >> 1;
  for (let at: i32 = 0; at < rows; at += 2) {
    addPair(x, x + row, norms, spreads);
    x += 2 * row;
    norms += 16;
    spreads += 16;
  }
}

/** Rows x and y: each sum is read and written once for both. */
function addPair(x: usize, y: usize, norms: usize, spreads: usize): void {
  const squares = sums + length;
  let xSum = f64x2.splat(0);
  let xSquares = f64x2.splat(0);
  let xSpread = f64x2.splat(0);
  let ySum = f64x2.splat(0);
  let ySquares = f64x2.splat(0);
  let ySpread = f64x2.splat(0);
  for (let i: usize = 0; i < length; i += 16) {
    const a = two(x + (i >> 1));
    const b = two(y + (i >> 1));
    const aSquare = f64x2.mul(a, a);
    const bSquare = f64x2.mul(b, b);
    addTo(sums + i, a, b);
    addTo(squares + i, aSquare, bSquare);
    xSum = f64x2.add(xSum, a);
    ySum = f64x2.add(ySum, b);
    xSquares = f64x2.add(xSquares, aSquare);
    ySquares = f64x2.add(ySquares, bSquare);
    const c = v128.load(centre + i);
    const aOff = f64x2.sub(a, c);
    const bOff = f64x2.sub(b, c);
    xSpread = f64x2.add(xSpread, f64x2.mul(aOff, aOff));
    ySpread = f64x2.add(ySpread, f64x2.mul(bOff, bOff));
  }
  const xNorm = both(xSquares);
  const yNorm = both(ySquares);
  store<f64>(norms, xNorm);
  store<f64>(norms, yNorm, 8);
  store<f64>(spreads, both(xSpread));
  store<f64>(spreads, both(ySpread), 8);
  addNormalised(x, both(xSum) / d, xNorm / d, y, both(ySum) / d, yNorm / d);
}

/** Each row less its mean, over its standard deviation; one whose entries are all alike is 0. */
function addNormalised(x: usize, xMean: f64, xMeanSquare: f64, y: usize, yMean: f64, yMeanSquare: f64): void {
  const normalised = sums + 2 * length;
  const squares = sums + 3 * length;
  const xMeans = f64x2.splat(xMean);
  const yMeans = f64x2.splat(yMean);
  const xScale = f64x2.splat(inverseDeviation(xMean, xMeanSquare - xMean * xMean));
  const yScale = f64x2.splat(inverseDeviation(yMean, yMeanSquare - yMean * yMean));
  for (let i: usize = 0; i < length; i += 16) {
    const a = f64x2.mul(f64x2.sub(two(x + (i >> 1)), xMeans), xScale);
    const b = f64x2.mul(f64x2.sub(two(y + (i >> 1)), yMeans), yScale);
    addTo(normalised + i, a, b);
    addTo(squares + i, f64x2.mul(a, a), f64x2.mul(b, b));
  }
}

function inverseDeviation(mean: f64, variance: f64): f64 {
  return variance > ALIKE * (mean * mean + variance) ? 1 / Math.sqrt(variance) : 0;
}

// @ts-expect-error: decorator
@inline
function addTo(at: usize, a: v128, b: v128): void {
  v128.store(at, f64x2.add(v128.load(at), f64x2.add(a, b)));
}

/** Two numbers as float64. */
// @ts-expect-error: decorator
@inline
function two(at: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(at));
}

/** The sum of both lanes. */
// @ts-expect-error: decorator
@inline
function both(x: v128): f64 {
  return f64x2.extract_lane(x, 0) + f64x2.extract_lane(x, 1);
}
