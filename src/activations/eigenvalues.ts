/** Max iterations of QL for one eigenvalue; two or three are usual. */
const MOST_ITERATIONS = 60;

/**
 * Eigenvalues of a symmetric matrix, ascending: Householder's reduction to a tridiagonal matrix, then QL with implicit
 * shifts (EISPACK's tred1 and tql1). About 4/3 n³ operations.
 *
 * @param matrix [n × n], of which the lower triangle is read; it is overwritten
 */
export function symmetricEigenvalues(matrix: Float64Array, n: number): Float64Array {
  const { diagonal, below } = tridiagonal(matrix, n);
  return implicitQl(diagonal, below).sort();
}

/** Eigenvalues of a symmetric matrix with their directions, the largest first. */
export interface Eigensystem {
  /** [n] */
  readonly values: Float64Array;
  /** The unit vector of values[rank], [n]; those of different ranks are orthogonal. */
  direction(rank: number): Float64Array;
}

/**
 * The same with eigenvectors: QL rotates a basis along (EISPACK's tql2), and requested directions are rotated back.
 * About 5 n³ operations, and 2 n² for each direction.
 *
 * @param matrix [n × n], of which the lower triangle is read; it is overwritten, and kept for the directions
 */
export function symmetricEigensystem(matrix: Float64Array, n: number): Eigensystem {
  const { diagonal, below, halves } = tridiagonal(matrix, n);
  const turned = new Float64Array(n * n);
  for (let i = 0; i < n; i++) turned[i * n + i] = 1;
  const found = implicitQl(diagonal, below, turned);
  const order = Array.from(found.keys()).sort((a, b) => found[b]! - found[a]! || a - b);
  return {
    values: Float64Array.from(order, (i) => found[i]!),
    direction: (rank) => {
      const at = order[rank]! * n;
      const v = turned.slice(at, at + n);
      for (let i = 2; i < n; i++) mirror(v, matrix.subarray(i * n, i * n + i), halves[i]!);
      return v;
    },
  };
}

/** v ← (1 − u uᵀ / h) v; h is 0 if nothing was reflected. */
function mirror(v: Float64Array, u: Float64Array, h: number): void {
  if (h === 0) return;
  let dot = 0;
  for (let k = 0; k < u.length; k++) dot += u[k]! * v[k]!;
  for (let k = 0; k < u.length; k++) v[k]! -= (dot / h) * u[k]!;
}

/** A symmetric matrix reduced by reflections, whose vectors u are in its rows. */
interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** The entries below it: below[i] between i − 1 and i. */
  readonly below: Float64Array;
  /** |u|² / 2 of row i's reflection; 0 if there is none. */
  readonly halves: Float64Array;
}

function tridiagonal(a: Float64Array, n: number): Tridiagonal {
  const [diagonal, below, halves] = [new Float64Array(n), new Float64Array(n), new Float64Array(n)];
  const p = new Float64Array(n);
  for (let i = n - 1; i > 0; i--) {
    const row = a.subarray(i * n, i * n + i);
    let scale = 0;
    for (const value of row) scale += Math.abs(value);
    diagonal[i] = a[i * n + i]!;
    if (i === 1 || scale === 0) {
      below[i] = row[i - 1]!;
      continue;
    }
    let h = 0;
    for (let k = 0; k < i; k++) {
      row[k]! /= scale;
      h += row[k]! ** 2;
    }
    const f = row[i - 1]!;
    const g = f >= 0 ? -Math.sqrt(h) : Math.sqrt(h);
    below[i] = scale * g;
    h -= f * g;
    row[i - 1] = f - g;
    halves[i] = h;
    reflect(a, n, i, h, p);
  }
  diagonal[0] = a[0]!;
  return { diagonal, below, halves };
}
/** A ← (1 − u uᵀ / h) A (1 − u uᵀ / h) on the leading i × i block, lower triangle, with u in row i. */
function reflect(a: Float64Array, n: number, i: number, h: number, p: Float64Array): void {
  const u = a.subarray(i * n, i * n + i);
  p.fill(0, 0, i);
  for (let j = 0; j < i; j++) {
    const row = j * n;
    const uj = u[j]!;
    let sum = a[row + j]! * uj;
    for (let k = 0; k < j; k++) {
      const value = a[row + k]!;
      sum += value * u[k]!;
      p[k]! += value * uj;
    }
    p[j]! += sum;
  }
  let up = 0;
  for (let j = 0; j < i; j++) {
    p[j]! /= h;
    up += p[j]! * u[j]!;
  }
  const half = up / (h + h);
  for (let j = 0; j < i; j++) p[j]! -= half * u[j]!;
  for (let j = 0; j < i; j++) {
    const [uj, pj, row] = [u[j]!, p[j]!, j * n];
    for (let k = 0; k <= j; k++) a[row + k]! -= uj * p[k]! + pj * u[k]!;
  }
}

/** @param basis rows to rotate along with d, [n × n], if wanted */
function implicitQl(d: Float64Array, below: Float64Array, basis?: Float64Array): Float64Array {
  const n = d.length;
  const e = new Float64Array(n);
  e.set(below.subarray(1));
  for (let l = 0; l < n; l++) {
    for (let iteration = 0; ; iteration++) {
      let m = l;
      for (; m < n - 1; m++) {
        const size = Math.abs(d[m]!) + Math.abs(d[m + 1]!);
        if (Math.abs(e[m]!) <= Number.EPSILON * size) break;
      }
      if (m === l) break;
      if (iteration === MOST_ITERATIONS) throw new Error('QL does not converge: the matrix is not finite');
      sweep(d, e, l, m, basis);
    }
  }
  return d;
}

/** One QL step on rows l … m. */
function sweep(d: Float64Array, e: Float64Array, l: number, m: number, basis?: Float64Array): void {
  let g = (d[l + 1]! - d[l]!) / (2 * e[l]!);
  let r = Math.hypot(g, 1);
  g = d[m]! - d[l]! + e[l]! / (g + (g >= 0 ? r : -r));
  let [s, c, p] = [1, 1, 0];
  for (let i = m - 1; i >= l; i--) {
    const f = s * e[i]!;
    const b = c * e[i]!;
    r = Math.hypot(f, g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1]! -= p;
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1]! - p;
    r = (d[i]! - g) * s + 2 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
    if (basis) turn(basis, d.length, i, c, s);
  }
  d[l]! -= p;
  e[l] = g;
  e[m] = 0;
}

/** Rotates rows i and i + 1 in their plane. */
function turn(basis: Float64Array, n: number, i: number, c: number, s: number): void {
  const [low, high] = [i * n, (i + 1) * n];
  for (let k = 0; k < n; k++) {
    const [a, b] = [basis[low + k]!, basis[high + k]!];
    basis[high + k] = s * a + c * b;
    basis[low + k] = c * a - s * b;
  }
}

/** exp of the entropy of eigenvalues as shares of their sum: the number of equal ones with the same entropy. */
export function effectiveRank(eigenvalues: Float64Array): number {
  // Rounding leaves some a little below 0.
  const total = eigenvalues.reduce((sum, value) => sum + Math.max(0, value), 0);
  if (!(total > 0)) return 0;
  let entropy = 0;
  for (const value of eigenvalues) {
    const share = value / total;
    if (share > 0) entropy -= share * Math.log(share);
  }
  return Math.exp(entropy);
}
