import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { sparsityCoefficient } from '../../src/train/schedule.js';

const D_IN = 6;

/** An SAE with one open feature by hand: f = w·(x − b) + c, x̂ = f·u + b, and its loss on raw activations. */
function handmade(scale: number) {
  const random = new Generator(5);
  const row = () => Float64Array.from({ length: D_IN }, () => random.normal());
  const rows = Array.from({ length: 40 }, row);
  const [w, u, b, c] = [row(), row(), row(), 9];
  const dot = (p: Float64Array, q: Float64Array) => p.reduce((sum, v, i) => sum + v * q[i]!, 0);
  // Homogeneity: biases times s and activations times s is everything times s.
  const terms = (s: number) => {
    let [squares, l1] = [0, 0];
    for (const raw of rows) {
      const x = raw.map((v) => v * s);
      const f =
        dot(
          w,
          x.map((v, i) => v - s * b[i]!),
        ) +
        s * c;
      squares += u.reduce((sum, v, i) => sum + (v * f + s * b[i]! - x[i]!) ** 2, 0) / rows.length;
      l1 += Math.abs(f) / rows.length;
    }
    return { squares, l1 };
  };
  const meanSquare = rows.reduce((sum, x) => sum + dot(x, x), 0) / rows.length;
  return { raw: terms(1), scaled: terms(scale), meanSquare };
}

test("λ of either convention gives the engines' loss, up to the factor that Adam does not see", () => {
  const scale = 0.37;
  const { raw, scaled, meanSquare } = handmade(scale);
  const scales = { width: D_IN, scale, meanSquare };
  const l1 = 0.11;
  /** What the convention says the loss is, over what the engine computes with its λ, must not depend on λ. */
  const agrees = (value: number, theirs: (l1: number) => number) => {
    const ours = (lambda: number) => scaled.squares + lambda * scaled.l1;
    const factor = theirs(0) / ours(0);
    assert.ok(Math.abs(theirs(l1) - factor * ours(value)) < 1e-12 * theirs(l1));
  };
  const coefficient = (l1Convention: 'sums' | 'paper', l2Normalise: boolean) =>
    sparsityCoefficient({ l1, l1Convention, l2Normalise }, scales).value;

  agrees(coefficient('sums', false), (λ) => scaled.squares + λ * scaled.l1);
  agrees(coefficient('paper', false), (λ) => raw.squares / D_IN + λ * raw.l1);
  agrees(coefficient('sums', true), (λ) => scaled.squares / (meanSquare * scale ** 2) + λ * scaled.l1);
  agrees(coefficient('paper', true), (λ) => raw.squares / D_IN / (meanSquare / D_IN) + λ * raw.l1);
});

test('the conversion is printed', () => {
  const sentence = (l1: number, l1Convention: 'sums' | 'paper', l2Normalise: boolean, scale = 1) =>
    sparsityCoefficient({ l1, l1Convention, l2Normalise }, { width: 3072, scale, meanSquare: 2500 }).sentence;
  assert.equal(sentence(3e-4, 'paper', false), 'λ = --l1 0.0003 × d_in 3072 = 0.9216 against sums of squared errors.');
  assert.match(
    sentence(4e-5, 'paper', true, 0.5),
    /--l1 0\.00004 × E\|x\|² 2500 × activation scale 0\.5 = 0\.05 against/,
  );
  assert.match(
    sentence(5, 'sums', false, 0.5),
    /λ = 5 against .* scaled activations; in the paper's convention .* 0\.003255/,
  );
  // A count of features does not scale, so there is no such number.
  const count = { width: 3072, scale: 0.5, meanSquare: null, scales: false };
  const of = sparsityCoefficient({ l1: 5, l1Convention: 'sums', l2Normalise: false }, count);
  assert.equal(of.value, 5);
  assert.doesNotMatch(of.sentence, /paper/);
});
