import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UsageRefusal } from '../../src/errors/refusal.js';
import { adjustment, adjustmentWindow, type TargetL0 } from '../../src/train/target-l0.js';

const plan = { steps: 1000, warmup: 100 };
const config = { lr: 1e-3, l1Warmup: 0, l0: 20 };

/**
 * A run whose L0 comes down from 700 as runs do: quickly most of the way to c / λ, with c falling slowly all along; with
 * some noise.
 */
function pretended(found: TargetL0, steps: number): { l0: number; lambda: number }[] {
  const { first } = found.window;
  let log = Math.log(700);
  return Array.from({ length: steps }, (_, step) => {
    const { lambda } = found;
    const rest = Math.log(120 / lambda) - 0.0005 * step;
    log += (rest - log) / 60;
    const l0 = Math.exp(log) * (1 + 0.03 * Math.sin(7919 * step));
    assert.ok(step >= first || lambda === 4, 'λ waits until the warm-ups are over');
    found.observe(step, l0);
    return { l0, lambda };
  });
}

test('λ is led to where L0 is the target, for small and large ones, and stays there in the last tenth', () => {
  for (const l0 of [3, 20, 100]) {
    const found = adjustment({ ...config, l0 }, plan, { value: 4 });
    const run = pretended(found, plan.steps);
    const last = run.slice(-50).reduce((sum, step) => sum + step.l0, 0) / 50;
    assert.ok(Math.abs(last / l0 - 1) < 0.1, `L0 ${last} for ${l0}`);
    const end = run.slice(900).map((step) => step.lambda);
    assert.equal(new Set(end).size, 1);
    assert.equal(found.lambda, end[0]);
  }
});

test('its state in a checkpoint continues it to the last bit, through JSON', () => {
  const whole = adjustment(config, plan, { value: 4 });
  pretended(whole, 400);
  const kept = JSON.parse(JSON.stringify(whole.state));
  const resumed = adjustment(config, plan, { value: 4 }, kept);
  for (const found of [whole, resumed]) for (let step = 400; step < 420; step++) found.observe(step, 33 - step / 40);
  assert.deepEqual(resumed.state, whole.state);
  assert.equal(resumed.lambda, whole.lambda);
});

test('λ stays finite and above 0 where the target cannot be reached', () => {
  for (const l0 of [0, 1e6]) {
    const found = adjustment(config, plan, { value: 4 });
    for (let step = 0; step < plan.steps; step++) found.observe(step, l0);
    assert.ok(found.lambda > 0 && Number.isFinite(found.lambda), `${found.lambda}`);
    assert.equal(found.lambda > 4, l0 > 0);
  }
});

test('the adjustment waits for the longer warm-up, and is no quicker than features can close', () => {
  assert.deepEqual(adjustmentWindow(config, plan), { first: 100, end: 900, horizon: 50 });
  assert.equal(adjustmentWindow({ lr: 1e-3, l1Warmup: 300 }, plan).first, 300);
  assert.ok(Math.abs(adjustmentWindow({ lr: 4e-4, l1Warmup: 0 }, plan).horizon - 100) < 1e-9);
  assert.equal(adjustmentWindow({ lr: 1e-9, l1Warmup: 0 }, plan).horizon, 200);
  assert.equal(adjustmentWindow(config, { ...plan, steps: 100_000 }).horizon, 5000);
});

test('runs too short for it are refused, and so is a λ of 0', () => {
  for (const [more, value, steps] of [
    [{}, 0, 1000],
    [{ l1Warmup: 500 }, 4, 1000],
    [{}, 4, 10],
  ] as const) {
    assert.throws(
      () => adjustment({ ...config, ...more }, { steps, warmup: Math.floor(steps / 10) }, { value }),
      (error) => error instanceof UsageRefusal && error.code === 'train/l0',
    );
  }
});
