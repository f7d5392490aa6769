import { firstNotFinite } from '../activations/finite.js';

/**
 * What of a state can never be mended by further steps, in words; undefined where all is well. Exact: every number is
 * looked at, which takes less time than writing them.
 *
 * @param state parameters, or a whole state of an engine
 * @param dIn length of a row of W_dec
 * @param unitRows whether the rows of W_dec are kept at norm 1: a row of zeros, as an overflowing norm leaves it, has none
 */
export function poisonIn(state: ReadonlyMap<string, Float32Array>, dIn: number, unitRows: boolean): string | undefined {
  for (const [name, values] of state) {
    const at = firstNotFinite(values, 'float32');
    if (at >= 0) return `${name} holds ${values[at]} (entry ${at})`;
  }
  // r_mag is used as exp(r_mag) only.
  const r = state.get('r_mag')?.findIndex((value) => Math.fround(Math.exp(value)) === Number.POSITIVE_INFINITY) ?? -1;
  if (r >= 0) return `exp(r_mag) of feature ${r} overflows`;
  const zero = unitRows ? zeroRow(state.get('W_dec'), dIn) : -1;
  return zero >= 0 ? `row ${zero} of W_dec is zero` : undefined;
}

/** The first row without a number other than 0; −1 where there is none. */
function zeroRow(matrix: Float32Array | undefined, d: number): number {
  if (!matrix) return -1;
  for (let row = 0; row < matrix.length / d; row++) {
    let i = row * d;
    while (i < (row + 1) * d && matrix[i] === 0) i++;
    if (i === (row + 1) * d) return row;
  }
  return -1;
}
