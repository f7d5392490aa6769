/** Numbers of a step, as the kernels' blocks have them, and one row length. */
export interface StepNumbers extends Record<string, number> {
  readonly d: number;
  readonly step: number;
  readonly lr: number;
  readonly l1: number;
  readonly l1F: number;
  readonly unfrozen: number;
  readonly pulls: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly fresh1: number;
  readonly fresh2: number;
  readonly correction1: number;
  readonly correction2: number;
  readonly epsilon: number;
}

/** Arrays of a step by the engine's names. */
export type Arrays = Record<string, Float32Array | Uint32Array>;

export type Architecture = 'gated' | 'standard';

/** Gradients of one feature; `dp` is Σ_b dp. */
export interface Gradient {
  readonly enc: Float64Array;
  readonly dec: Float64Array;
  readonly dp: number;
  /** Of b_gate or b_enc, then of b_mag and r_mag. */
  readonly biases: readonly number[];
}

/** The biases of one feature, in the order of their gradients. */
export const BIASES: Record<Architecture, readonly string[]> = {
  gated: ['b_gate', 'b_mag', 'r_mag'],
  standard: ['b_enc'],
};

/** Copies in float64, to be updated. */
export function inDoubles(arrays: Arrays): Record<string, Float64Array> {
  return Object.fromEntries(Object.entries(arrays).map(([name, values]) => [name, Float64Array.from(values)]));
}

/** Gradients of feature j from its entries: src/train/engines/README.md, "One training step". */
export function gradientOf(
  architecture: Architecture,
  arrays: Arrays,
  { d, l1, l1F, unfrozen }: StepNumbers,
  j: number,
): Gradient {
  const at = (name: string, i = j) => arrays[name]![i]!;
  const enc = new Float64Array(d);
  const dec = new Float64Array(d);
  let [sumP, sumPi, sumM, sumR] = [0, 0, 0, 0];
  for (let k = at('entry_start'); k < at('entry_start', j + 1); k++) {
    const row = at('token', k) * d;
    const p = at('p', k);
    const dot = (name: string) => enc.reduce((sum, _, i) => sum + at(name, row + i) * at('W_dec', j * d + i), 0);
    let [dp, f, g] = [0, 0, 0];
    if (architecture === 'gated') {
      const e = at('exp_r_mag');
      const m = e * p + at('b_mag');
      const dPi = Math.fround(l1) + (arrays.r_aux ? dot('r_aux') : 0);
      const dM = m > 0 ? Math.fround(l1F) + dot('r') : 0;
      dp = dPi + e * dM;
      f = Math.max(0, m);
      g = Math.max(0, p + at('b_gate'));
      sumPi += dPi;
      sumM += dM;
      sumR += dM * e * p;
    } else {
      dp = Math.fround(l1F) + dot('r');
      f = Math.max(0, p + at('b_enc'));
      sumPi += dp;
    }
    sumP += dp;
    for (let i = 0; i < d; i++) {
      enc[i]! += dp * at('xc', row + i);
      dec[i]! += f * at('r', row + i) + (unfrozen ? g * at('r_aux', row + i) : 0);
    }
  }
  return { enc, dec, dp: sumP, biases: architecture === 'gated' ? [sumPi, sumM, sumR] : [sumPi] };
}

/** Missed decays, projection, Adam and norm of feature j, in place; adds to `pull`. */
export function applyGradient(
  architecture: Architecture,
  state: Record<string, Float64Array>,
  numbers: StepNumbers,
  j: number,
  gradient: Gradient,
): void {
  const { d, step } = numbers;
  const { lr, beta1, beta2, fresh1, fresh2, correction1, correction2, epsilon } = roundedNumbers(numbers);
  const missed = step - 1 - state.updated![j]!;
  state.updated![j] = step;

  function adam(name: string, i: number, g: number): void {
    const [values, v] = [state[name]!, state[`v/${name}`]];
    // What has no moments is not trained.
    if (!v) return;
    v[i] = v[i]! * beta2 ** missed * beta2 + g * g * fresh2;
    let numerator = g;
    if (beta1 > 0) {
      const m = state[`m/${name}`]!;
      m[i] = m[i]! * beta1 + g * fresh1;
      numerator = m[i]! * correction1;
    }
    values[i]! -= (lr * numerator) / (Math.sqrt(v[i]! * correction2) + epsilon);
  }

  const [enc, dec, pull] = [state.W_enc!, state.W_dec!, state.pull!];
  const row = Array.from({ length: d }, (_, i) => j * d + i);
  const pulled = numbers.pulls || state['v/W_enc'];
  row.forEach((k, i) => {
    if (pulled) pull[i]! += gradient.dp * enc[k]!;
  });
  row.forEach((k, i) => {
    adam('W_enc', k, gradient.enc[i]!);
  });
  const radial = row.reduce((sum, k, i) => sum + gradient.dec[i]! * dec[k]!, 0);
  const tangent = row.map((k, i) => gradient.dec[i]! - radial * dec[k]!);
  row.forEach((k, i) => {
    adam('W_dec', k, tangent[i]!);
  });
  const norm = Math.sqrt(row.reduce((sum, k) => sum + dec[k]! ** 2, 0));
  if (state['v/W_dec']) for (const k of row) dec[k]! /= norm;
  BIASES[architecture].forEach((name, n) => {
    adam(name, j, gradient.biases[n]!);
  });
}

/** The step's numbers as the kernels get them: float32. */
function roundedNumbers(numbers: StepNumbers): StepNumbers {
  return Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, Math.fround(value)])) as never;
}
