import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../src/random/generator.js';
import {
  density,
  expectedError,
  type FeatureEncoder,
  jumpRelu,
  OFF,
  ON,
  relu,
  toyPicture,
} from '../../../src/report/jump-relu.js';
import { elements } from '../sample.js';

const near = (actual: number, expected: number, tolerance: number) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} ≠ ${expected}`);

/** P(z > 1) and P(z > 2) of a standard normal z (any table), and its density there. */
const Q1 = 0.15865525393145707;
const Q2 = 0.0227501319481792;
const phi = (z: number) => Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI);

test('the encoders are the paper’s', () => {
  assert.deepEqual([0.5, 1, 1.5, 2, 3].map(relu), [0, 0, 1, 2, 4]);
  assert.deepEqual([0.5, 1, 1.5, 2, 3].map(jumpRelu), [0, 0, 1.5, 2, 3]);
  near(density(OFF, 0), phi(0), 1e-15);
  near(density(ON, 2.5), 2 * phi(1), 1e-15);
});

test('expected errors by quadrature are those of truncated normal moments', () => {
  // Of z = a where off: E[z²; z > 1] = φ(1) + Q(1) and E[(z − 1)²; z > 1] = 2 Q(1) − φ(1).
  near(expectedError(jumpRelu).off, phi(1) + Q1, 1e-9);
  near(expectedError(relu).off, 4 * (2 * Q1 - phi(1)), 1e-9);
  // Where on, a = 2 + z / 2; below the threshold, z < −2, a itself is lost: E[a²; z < −2].
  const lost = 4 * Q2 - 2 * phi(2) + (2 * phi(2) + Q2) / 4;
  near(expectedError(jumpRelu).on, lost, 1e-9);
  // Above it ReLU's error is a − 2 = z / 2: E[z²; z > −2] / 4.
  near(expectedError(relu).on, lost + (1 - (2 * phi(2) + Q2)) / 4, 1e-9);
});

test('expected errors agree with sampling', () => {
  const samples = 400_000;
  for (const f of [relu, jumpRelu]) {
    const random = new Generator(7, 7);
    const [off, on] = [error(f, OFF, 0), error(f, ON, 1)];
    const expected = expectedError(f);
    // Five standard errors.
    near(off.mean, expected.off, 5 * off.error);
    near(on.mean, expected.on, 5 * on.error);
    near((off.mean + on.mean) / 2, expected.all, 5 * Math.hypot(off.error, on.error));
    assert.ok(off.error < 0.005 && on.error < 0.005, 'enough samples to tell');

    function error(encoder: FeatureEncoder, { mean, deviation }: typeof OFF, contribution: 0 | 1) {
      let [sum, squares] = [0, 0];
      for (let i = 0; i < samples; i++) {
        const a = mean + deviation * random.normal();
        const squared = (encoder(a) - contribution * a) ** 2;
        sum += squared;
        squares += squared * squared;
      }
      const average = sum / samples;
      return { mean: average, error: Math.sqrt((squares / samples - average ** 2) / samples) };
    }
  }
});

test('JumpReLU has the smaller error over all tokens, and the picture shows both errors', () => {
  assert.ok(expectedError(jumpRelu).all < expectedError(relu).all);
  const { svg, caption } = toyPicture();
  assert.match(caption, /ReLU 0\.267 \(off 0\.301, on 0\.233\), JumpReLU 0\.208 \(off 0\.401, on 0\.016\)/);
  assert.equal(elements(svg, '[data-mark="density"]').length, 2);
  assert.equal(elements(svg, '[data-mark="encoder"]').length, 2);
  assert.equal(elements(svg, '[data-mark="error"]').length, 6);
  assert.equal(elements(svg, '[data-mark="threshold"]').length, 2);
  for (const number of ['0.301', '0.401', '0.233', '0.016', '0.267', '0.208'])
    assert.ok(svg.text.includes(`>${number}<`), number);
  assert.doesNotMatch(svg.text, /NaN|Infinity|undefined/);
});
