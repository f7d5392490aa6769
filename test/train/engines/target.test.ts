import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../src/random/generator.js';
import { initialise } from '../../../src/sae/registry.js';
import type { EngineSettings } from '../../../src/train/engines/engine.js';
import { openReferenceEngine } from '../../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../../src/train/engines/sparse/engine.js';
import { relativeDifference } from '../../golden.js';

const [D_IN, D_OUT, D_SAE, BATCH] = [5, 9, 14, 24];
const [SCALE, SCALE_OUT] = [0.7, 1.9];

type State = Record<'W_enc' | 'W_dec' | 'b_dec' | 'b_enc', Float64Array>;

const zeros = (like: State): State =>
  Object.fromEntries(Object.entries(like).map(([name, values]) => [name, new Float64Array(values.length)])) as State;

/** |y − ŷ|² + λ Σ f of a batch, its gradient and its figures, by plain loops in float64. */
function lossOf(w: State, x: Float64Array, y: Float64Array, l1: number) {
  const gradient = zeros(w);
  const f = new Float64Array(D_SAE);
  const df = new Float64Array(D_SAE);
  let [mse, penalty, active] = [0, 0, 0];
  for (let b = 0; b < BATCH; b++) {
    for (let j = 0; j < D_SAE; j++) {
      let p = w.b_enc[j]!;
      for (let i = 0; i < D_IN; i++) p += x[b * D_IN + i]! * w.W_enc[i * D_SAE + j]!;
      f[j] = Math.max(0, p);
      df[j] = l1 / BATCH;
      penalty += (l1 * f[j]!) / BATCH;
      if (p > 0) active++;
    }
    for (let o = 0; o < D_OUT; o++) {
      let error = w.b_dec[o]! - y[b * D_OUT + o]!;
      for (let j = 0; j < D_SAE; j++) error += f[j]! * w.W_dec[j * D_OUT + o]!;
      mse += error ** 2 / BATCH;
      const r = (2 * error) / BATCH;
      gradient.b_dec[o]! += r;
      for (let j = 0; j < D_SAE; j++) {
        gradient.W_dec[j * D_OUT + o]! += f[j]! * r;
        df[j]! += r * w.W_dec[j * D_OUT + o]!;
      }
    }
    for (let j = 0; j < D_SAE; j++) {
      if (f[j] === 0) continue;
      gradient.b_enc[j]! += df[j]!;
      for (let i = 0; i < D_IN; i++) gradient.W_enc[i * D_SAE + j]! += x[b * D_IN + i]! * df[j]!;
    }
  }
  return { gradient, mse, l1: penalty, l0: active / BATCH };
}

/** Gradients of the decoder's rows without their part along the rows, Adam, rows of norm 1. */
function adam(w: State, gradient: State, v: State, t: number, lr: number): void {
  const rows = (use: (from: number) => void) => {
    for (let j = 0; j < D_SAE; j++) use(j * D_OUT);
  };
  rows((from) => {
    let along = 0;
    for (let o = 0; o < D_OUT; o++) along += gradient.W_dec[from + o]! * w.W_dec[from + o]!;
    for (let o = 0; o < D_OUT; o++) gradient.W_dec[from + o]! -= along * w.W_dec[from + o]!;
  });
  for (const name of ['W_enc', 'W_dec', 'b_dec', 'b_enc'] as const) {
    for (let i = 0; i < w[name].length; i++) {
      v[name][i] = 0.999 * v[name][i]! + 0.001 * gradient[name][i]! ** 2;
      w[name][i]! -= (lr * gradient[name][i]!) / (Math.sqrt(v[name][i]! / (1 - 0.999 ** t)) + 1e-8);
    }
  }
  rows((from) => {
    const norm = Math.hypot(...w.W_dec.subarray(from, from + D_OUT));
    for (let o = 0; o < D_OUT; o++) w.W_dec[from + o]! /= norm;
  });
}

for (const [name, open] of [
  ['reference', openReferenceEngine],
  ['sparse', openSparseEngine],
] as const) {
  test(`ten steps of the ${name} engine towards another target equal plain loops in float64`, async () => {
    const settings: EngineSettings = {
      ...{ architecture: 'standard', dIn: D_IN, dOut: D_OUT, dSae: D_SAE, batch: BATCH, batchDType: 'float32' },
      ...{ scale: SCALE, scaleOut: SCALE_OUT, beta1: 0, beta2: 0.999, deadWindow: 1000, threads: 1 },
    };
    const random = new Generator(11);
    const sizes = { dIn: D_IN, dOut: D_OUT, dSae: D_SAE };
    const start = new Map(Object.entries(initialise('standard', sizes, 5).parameters));
    for (const name of ['b_dec', 'b_enc']) {
      const bias = start.get(name)!;
      for (let i = 0; i < bias.length; i++) bias[i] = 0.3 * random.normal();
    }
    const engine = await open(settings, start);
    const w = Object.fromEntries([...start].map(([name, values]) => [name, Float64Array.from(values)])) as State;
    const v = zeros(w);
    for (let t = 1; t <= 10; t++) {
      const x = Float32Array.from({ length: BATCH * D_IN }, () => random.normal());
      const y = Float32Array.from({ length: BATCH * D_OUT }, () => random.normal());
      const at = { lr: 3e-3, l1: 0.02 * t };
      const found = await engine.step({ x, y }, at);
      const scaled = (values: Float32Array, s: number) => Float64Array.from(values, (value) => value * s);
      const { gradient, ...expected } = lossOf(w, scaled(x, SCALE), scaled(y, SCALE_OUT), at.l1);
      for (const name of ['mse', 'l1', 'l0'] as const) {
        const off = Math.abs(found[name] - expected[name]) / expected[name];
        assert.ok(off < 1e-5, `step ${t}, ${name}: ${found[name]}, not ${expected[name]}`);
      }
      let variance = 0;
      for (let o = 0; o < D_OUT; o++) {
        const column = Array.from({ length: BATCH }, (_, b) => SCALE_OUT * y[b * D_OUT + o]!);
        const mean = column.reduce((sum, value) => sum + value, 0) / BATCH;
        for (const value of column) variance += (value - mean) ** 2 / BATCH;
      }
      assert.ok(Math.abs(found.variance / variance - 1) < 1e-5, 'the variance is that of the target');
      adam(w, gradient, v, t, at.lr);
      const sae = await engine.sae();
      for (const name of Object.keys(w) as (keyof State)[]) {
        const difference = relativeDifference(sae.parameters[name]!, w[name]);
        assert.ok(difference < 2e-5, `step ${t}, ${name}: ${difference}`);
      }
    }
    const { dIn, dOut, transcoder, forward } = await engine.sae();
    assert.deepEqual({ dIn, dOut, transcoder }, { dIn: D_IN, dOut: D_OUT, transcoder: true });
    assert.equal(forward!.apply_b_dec_to_input, false);
    await engine.close();
  });
}
