import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UsageRefusal } from '../../src/errors/refusal.js';
import { planned, schedule } from '../../src/train/schedule.js';

const PLAIN = {
  lr: 1,
  warmup: 0,
  lrDecay: 'constant',
  decaySteps: undefined,
  lrEnd: 0,
  l1Warmup: 0,
  resampleAt: [] as number[],
  resampleWarmup: 1000,
} as const;

const near = (found: number, expected: number, what: string) =>
  assert.ok(Math.abs(found - expected) < 1e-12, `${what}: ${found}, not ${expected}`);

test('warm-ups rise linearly and a short run shortens them', () => {
  const plan = schedule({ ...PLAIN, lr: 0.1, warmup: 10, l1Warmup: 4 }, 1000);
  for (const [t, lr] of [
    [0, 0.01],
    [4, 0.05],
    [9, 0.1],
    [10, 0.1],
    [999, 0.1],
  ] as const) {
    near(plan.at(t, 2).lr, lr, `step ${t}`);
  }
  assert.deepEqual(
    [0, 1, 3, 4].map((t) => plan.at(t, 2).l1),
    [0.5, 1, 2, 2],
  );
  assert.equal(schedule({ ...PLAIN, warmup: 1000 }, 50).at(4, 0).lr, 1);
  assert.equal(schedule(PLAIN, 5).at(0, 3).l1, 3);
});

test('the learning rate falls over the last steps to its share, by a line or half a cosine', () => {
  const linear = schedule({ ...PLAIN, lrDecay: 'linear', decaySteps: 4, lrEnd: 0.2 }, 10);
  [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2].forEach((lr, t) => {
    near(linear.at(t, 0).lr, lr, `linear, step ${t}`);
  });
  const cosine = schedule({ ...PLAIN, lrDecay: 'cosine', warmup: 10 }, 100);
  assert.equal(cosine.decaySteps, 90);
  near(cosine.at(9, 0).lr, 1, 'the last step of the warm-up');
  near(cosine.at(54, 0).lr, 0.5, 'the middle of the fall');
  near(cosine.at(99, 0).lr, 0, 'the last step');
  // A quarter of the way down, half a cosine has lost (1 − cos 45°) / 2.
  near(
    schedule({ ...PLAIN, lrDecay: 'cosine', decaySteps: 40, lrEnd: 0.5 }, 100).at(69, 0).lr,
    1 - 0.5 * ((1 - Math.SQRT1_2) / 2),
    'a quarter',
  );
});

test('λ and the learning rate move over a share of the run', () => {
  const plan = schedule({ ...PLAIN, l1WarmupShare: 1, lrDecay: 'linear', decayShare: 0.2 }, 20);
  assert.deepEqual([plan.l1Warmup, plan.decaySteps], [20, 4]);
  for (const t of [0, 9, 19]) near(plan.at(t, 4).l1, (4 * (t + 1)) / 20, `λ, step ${t}`);
  [1, 0.75, 0.5, 0.25, 0].forEach((lr, i) => {
    near(plan.at(15 + i, 0).lr, lr, `step ${15 + i}`);
  });
  // Trained further, λ has risen; the learning rate falls at the new end.
  const further = planned({ ...PLAIN, l1WarmupShare: 1, lrDecay: 'linear', decayShare: 0.2 }, 40, 20);
  assert.deepEqual([further.l1Warmup, further.decaySteps, further.at(25, 4).l1], [20, 8, 4]);
  for (const more of [
    { l1WarmupShare: 1, l1Warmup: 3 },
    { decayShare: 0.2 },
    { decayShare: 0.2, decaySteps: 4, lrDecay: 'linear' },
  ] as const) {
    assert.throws(() => schedule({ ...PLAIN, ...more }, 20), { code: 'train/schedule-share' });
  }
});

test('resampling drops the learning rate to a tenth, from where a cosine brings it back', () => {
  const plan = schedule({ ...PLAIN, lr: 2, resampleAt: [100, 1500], resampleWarmup: 1000 }, 4000);
  near(plan.at(99, 0, [100, 1500]).lr, 2, 'before');
  near(plan.at(100, 0, [100, 1500]).lr, 0.2, 'at once after');
  near(plan.at(600, 0, [100, 1500]).lr, 2 * 0.55, 'halfway back');
  near(plan.at(1100, 0, [100, 1500]).lr, 2, 'back');
  near(plan.at(1500, 0, [100, 1500]).lr, 0.2, 'after the second');
  near(
    plan.at(1833, 0, [100, 1500]).lr,
    2 * (0.1 + 0.9 * ((1 - Math.cos(Math.PI * 0.333)) / 2)),
    'a third of the way back',
  );
  near(plan.at(3999, 0, [100, 1500]).lr, 2, 'at the end');
  const both = schedule({ ...PLAIN, resampleAt: [50], resampleWarmup: 10, lrDecay: 'linear', decaySteps: 100 }, 100);
  near(plan.at(1500, 0, [100]).lr, 2, 'nothing was dead at the second');
  near(both.at(50, 0, [50]).lr, 0.1 * 0.49, 'the two multiply');
});

test('parts that do not fit the steps are refused', () => {
  assert.throws(() => schedule({ ...PLAIN, resampleAt: [10, 100] }, 100), UsageRefusal);
  assert.throws(
    () => schedule({ ...PLAIN, warmup: 10, lrDecay: 'linear', decaySteps: 95 }, 100),
    /--decay-steps 95 and a warm-up of 10 are more than 100 steps/,
  );
});
