/** A run of an SAE with k features per token, and with AuxK if `kAux` is above 0. */
export interface KRun {
  readonly dIn: number;
  readonly dOut: number;
  readonly dSae: number;
  readonly batch: number;
  readonly k: number;
  readonly kAux: number;
  readonly coefficient: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly deadWindow: number;
  /** Is b_dec taken from the input? */
  readonly centred: boolean;
}

type State = Record<string, Float64Array>;

/** The k largest of h among `features`, above 0; of equals, the lower feature. */
export function largest(h: ArrayLike<number>, features: readonly number[], k: number): number[] {
  return features
    .filter((j) => h[j]! > 0)
    .sort((a, b) => h[b]! - h[a]! || a - b)
    .slice(0, k)
    .sort((a, b) => a - b);
}

/** Σ_b |y_b − ȳ|² of rows [batch, d]. */
function variance(rows: Float64Array, d: number): number {
  const batch = rows.length / d;
  let sum = 0;
  for (let i = 0; i < d; i++) {
    let mean = 0;
    for (let b = 0; b < batch; b++) mean += rows[b * d + i]! / batch;
    for (let b = 0; b < batch; b++) sum += (rows[b * d + i]! - mean) ** 2;
  }
  return sum;
}

/**
 * One training step in float64, token by token, as src/train/engines/README.md has its formulas: slow and obvious. Changes
 * `state`, whose arrays are those of the engine; returns the step's figures.
 */
export function stepOfK(run: KRun, state: State, x: ArrayLike<number>, y: ArrayLike<number>, lr: number, t: number) {
  const { dIn, dOut, dSae, batch, centred } = run;
  const { W_enc, W_dec, b_enc, b_dec } = state as { W_enc: Float64Array; W_dec: Float64Array } & State;
  const all = Array.from({ length: dSae }, (_, j) => j);
  const dead = all.filter((j) => state.since_fired![j]! >= run.deadWindow);
  const gradient: State = Object.fromEntries(
    ['W_enc', 'W_dec', 'b_enc', 'b_dec'].map((name) => [name, new Float64Array(state[name]!.length)]),
  );
  const input = (b: number, i: number) => x[b * dIn + i]! - (centred ? b_dec![i]! : 0);
  const h = Array.from({ length: batch }, (_, b) =>
    Float64Array.from(all, (j) => {
      let sum = b_enc![j]!;
      for (let i = 0; i < dIn; i++) sum += input(b, i) * W_enc![i * dSae + j]!;
      return sum;
    }),
  );
  const decode = (lists: readonly number[][], bias: boolean) => {
    const out = new Float64Array(batch * dOut);
    for (let b = 0; b < batch; b++) {
      for (let i = 0; i < dOut; i++) {
        let sum = bias ? b_dec![i]! : 0;
        for (const j of lists[b]!) sum += h[b]![j]! * W_dec![j * dOut + i]!;
        out[b * dOut + i] = sum;
      }
    }
    return out;
  };
  /** Gradients through a reconstruction whose own gradient is r. */
  const backward = (lists: readonly number[][], r: Float64Array) => {
    for (let b = 0; b < batch; b++) {
      for (const j of lists[b]!) {
        let dp = 0;
        for (let i = 0; i < dOut; i++) {
          dp += W_dec![j * dOut + i]! * r[b * dOut + i]!;
          gradient.W_dec![j * dOut + i]! += h[b]![j]! * r[b * dOut + i]!;
        }
        gradient.b_enc![j]! += dp;
        for (let i = 0; i < dIn; i++) {
          gradient.W_enc![i * dSae + j]! += dp * input(b, i);
          if (centred) gradient.b_dec![i]! -= dp * W_enc![i * dSae + j]!;
        }
      }
    }
  };

  const lists = h.map((row) => largest(row, all, run.k));
  const error = decode(lists, true).map((value, n) => y[n]! - value);
  const r = error.map((value) => (-2 * value) / batch);
  backward(lists, r);
  r.forEach((value, n) => {
    gradient.b_dec![n % dOut]! += value;
  });
  let auxiliary = 0;
  const [whole, left] = [variance(Float64Array.from(y), dOut), variance(error, dOut)];
  if (run.kAux > 0 && dead.length > 0 && left > 0) {
    const auxLists = h.map((row) => largest(row, dead, Math.min(run.kAux, dead.length)));
    const off = decode(auxLists, false).map((value, n) => value - error[n]!);
    const c = (run.coefficient * whole) / left;
    auxiliary = (c * off.reduce((sum, value) => sum + value * value, 0)) / batch;
    backward(
      auxLists,
      off.map((value) => (2 * c * value) / batch),
    );
  }
  update(run, state, gradient, lr, t);
  const fired = new Set(lists.flat());
  for (const j of all) state.since_fired![j] = fired.has(j) ? 0 : state.since_fired![j]! + batch;
  const mse = error.reduce((sum, value) => sum + value * value, 0) / batch;
  return { mse, aux: auxiliary, l0: lists.flat().length / batch, variance: whole / batch };
}

/** Adam on every parameter; rows of W_dec stay unit vectors and move along the sphere. */
function update({ dOut, beta1, beta2 }: KRun, state: State, gradient: State, lr: number, t: number): void {
  const rows = (visit: (row: Float64Array, g: Float64Array) => void) => {
    for (let at = 0; at < state.W_dec!.length; at += dOut) {
      visit(state.W_dec!.subarray(at, at + dOut), gradient.W_dec!.subarray(at, at + dOut));
    }
  };
  rows((row, g) => {
    const along = row.reduce((sum, value, i) => sum + value * g[i]!, 0);
    row.forEach((value, i) => {
      g[i]! -= along * value;
    });
  });
  for (const [name, g] of Object.entries(gradient)) {
    const [values, v, m] = [state[name]!, state[`v/${name}`]!, state[`m/${name}`]];
    g.forEach((value, i) => {
      v[i] = beta2 * v[i]! + (1 - beta2) * value * value;
      let numerator = value;
      if (m) {
        m[i] = beta1 * m[i]! + (1 - beta1) * value;
        numerator = m[i]! / (1 - beta1 ** t);
      }
      values[i]! -= (lr * numerator) / (Math.sqrt(v[i]! / (1 - beta2 ** t)) + 1e-8);
    });
  }
  rows((row) => {
    const norm = Math.hypot(...row);
    row.forEach((value, i) => {
      row[i] = value / norm;
    });
  });
}
