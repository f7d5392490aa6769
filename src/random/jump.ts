// A step of xoshiro128** is linear over GF(2): n steps are the n-th power of a 128 × 128 bit matrix, composed from its
// powers of two.
// together from its powers of two.

/** Words per state. */
const WORDS = 4;
const BITS = 32 * WORDS;

/** Advances a state by one step, in place. */
type Step = (state: Uint32Array) => void;

/** The matrix of 2^k steps, by k: images of the 128 one-bit states, four words each. */
const powers: Uint32Array[] = [];

function power(k: number, step: Step): Uint32Array {
  while (powers.length <= k) powers.push(powers.length === 0 ? first(step) : squared(powers.at(-1)!));
  return powers[k]!;
}

function first(step: Step): Uint32Array {
  const matrix = new Uint32Array(BITS * WORDS);
  for (let bit = 0; bit < BITS; bit++) {
    const image = matrix.subarray(bit * WORDS, (bit + 1) * WORDS);
    image[bit >> 5] = 2 ** (bit & 31);
    step(image);
  }
  return matrix;
}

function squared(matrix: Uint32Array): Uint32Array {
  const square = matrix.slice();
  for (let bit = 0; bit < BITS; bit++) apply(matrix, square.subarray(bit * WORDS, (bit + 1) * WORDS));
  return square;
}

/** The state times the matrix, in place. */
function apply(matrix: Uint32Array, state: Uint32Array): void {
  const image = new Uint32Array(WORDS);
  for (let bit = 0; bit < BITS; bit++) {
    if (((state[bit >> 5]! >>> (bit & 31)) & 1) === 0) continue;
    for (let word = 0; word < WORDS; word++) image[word]! ^= matrix[bit * WORDS + word]!;
  }
  state.set(image);
}

/**
 * Advances the state by n steps, in place.
 *
 * @param n integer below 2⁵³
 */
export function jump(state: Uint32Array, n: number, step: Step): void {
  for (let k = 0, left = n; left > 0; k++, left = Math.floor(left / 2))
    if (left % 2 === 1) apply(power(k, step), state);
}
