import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firingRatio, frontier, type Tradeoff, transformed } from '../../src/report/firing-ratio.js';

const near = (actual: number, expected: number, tolerance = 1e-12) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} ≠ ${expected}`);

/** SAEs at 1 − loss recovered = c · L0^−1, which is a straight line of the interpolation: t = ln L0 − ln c. */
const inverse = (c: number, ...l0: number[]): Tradeoff[] => l0.map((x) => ({ l0: x, recovered: 1 - c / x }));

function ratioOf(gated: readonly Tradeoff[], standard: readonly Tradeoff[], count?: number) {
  const result = firingRatio(gated, standard, count);
  assert.ok(result.kind === 'ratio', result.kind);
  return result;
}

test('the transform is the log of the loss that is not recovered', () => {
  near(transformed(0), 0);
  near(transformed(0.9), Math.log(10));
  near(transformed(0.999) - transformed(0.99), Math.log(10));
  near(transformed(-1), -Math.log(2));
});

test('curves that are shifted by a factor have that ratio at every level', () => {
  const result = ratioOf(inverse(1, 10, 30, 100), inverse(2, 25, 80, 190));
  near(result.mean, 0.5);
  for (const { ratio } of result.levels) near(ratio, 0.5);
  // Both cover 1 − 2/25 to 1 − 2/190.
  near(result.span[0], 1 - 2 / 25);
  near(result.span[1], 1 - 2 / 190);
  near(result.levels[0]!.standard, 25, 1e-9);
  near(result.levels.at(-1)!.standard, 190, 1e-9);
  near(result.levels.at(-1)!.gated, 95, 1e-9);
});

test('levels are equally far apart in the log of what is not recovered', () => {
  const { levels } = ratioOf(inverse(1, 10, 1000), inverse(1, 10, 1000), 3);
  assert.equal(levels.length, 3);
  near(levels[1]!.recovered, 1 - 1 / 100);
  near(levels[1]!.gated, 100, 1e-9);
});

test('the mean is the geometric one over the whole range, bends included', () => {
  // Gated: ln L0 = 0 up to t = ln 10 of a range of ln 100, then rises to ln 10 (up to a hair: L0 must rise).
  const gated = [
    { l0: 1, recovered: 0 },
    { l0: 1 + 1e-13, recovered: 0.9 },
    { l0: 10, recovered: 0.99 },
  ];
  const standard = [
    { l0: 10, recovered: 0 },
    { l0: 10 + 1e-12, recovered: 0.99 },
  ];
  // Log ratio: −ln 10 over half the range, then −ln 10 to 0: on average −(1 + ½)/2 · ln 10.
  near(ratioOf(gated, standard).mean, 10 ** -0.75, 1e-9);
  // With few levels it is the same: it does not depend on them.
  near(ratioOf(gated, standard, 2).mean, 10 ** -0.75, 1e-9);
});

test('between neighbours ln L0 is linear in t', () => {
  const gated = [
    { l0: 10, recovered: 0.9 },
    { l0: 1000, recovered: 0.999 },
  ];
  const standard = [
    { l0: 50, recovered: 0.99 },
    { l0: 60, recovered: 0.9999 },
  ];
  const { levels } = ratioOf(gated, standard);
  near(levels[0]!.recovered, 0.99);
  near(levels[0]!.gated, 100, 1e-9);
  near(levels[0]!.ratio, 2, 1e-9);
  near(levels.at(-1)!.standard, Math.sqrt(50 * 60), 1e-9);
});

test('a dominated point is not on the curve', () => {
  const points = [
    { l0: 57.3, recovered: 0.9736 },
    { l0: 25.4, recovered: 0.979 },
    { l0: 18.1, recovered: 0.9528 },
    { l0: 25.4, recovered: 0.97 },
    { l0: 90, recovered: 0.979 },
  ];
  assert.deepEqual(frontier(points), [
    { l0: 18.1, recovered: 0.9528 },
    { l0: 25.4, recovered: 0.979 },
  ]);
  assert.equal(points[0]!.l0, 57.3, 'the input is left as it was');
});

test('points with no place on the curve are left out', () => {
  const bad = [
    { l0: 5, recovered: Number.NaN },
    { l0: Number.NaN, recovered: 0.5 },
    { l0: 0, recovered: 0.1 },
    { l0: 300, recovered: 1 },
    { l0: 400, recovered: 1.01 },
    { l0: 2, recovered: Number.NEGATIVE_INFINITY },
  ];
  assert.deepEqual(frontier(bad), []);
  near(ratioOf([...bad, ...inverse(1, 10, 100)], inverse(2, 20, 200)).mean, 0.5);
  assert.deepEqual(firingRatio(bad, inverse(1, 10)), { kind: 'none' });
  assert.deepEqual(firingRatio([], []), { kind: 'none' });
});

test('nothing is extrapolated: curves that do not overlap are reported, curves that touch have one level', () => {
  const apart = firingRatio(inverse(1, 100, 1000), inverse(1, 10, 50));
  assert.ok(apart.kind === 'apart');
  near(apart.gated[0], 0.99);
  near(apart.gated[1], 0.999);
  near(apart.standard[0], 0.9);
  near(apart.standard[1], 0.98);
  const touching = ratioOf(
    [{ l0: 30, recovered: 0.9 }],
    [
      { l0: 60, recovered: 0.9 },
      { l0: 20, recovered: 0.5 },
    ],
  );
  assert.equal(touching.levels.length, 1);
  near(touching.mean, 0.5);
});
