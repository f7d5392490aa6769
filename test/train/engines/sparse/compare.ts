import assert from 'node:assert/strict';
import { relativeDifference } from '../../../golden.js';

/** Every |a − b| is at most `tolerance` times the largest |b|. */
export function assertClose(a: ArrayLike<number>, b: ArrayLike<number>, what: string, tolerance = 3e-6): void {
  const difference = relativeDifference(a, b);
  assert.ok(difference <= tolerance, `${what} is off by ${difference}`);
}

/** The same numbers; NaN equals NaN, and 0 equals −0. */
export function assertSame(a: ArrayLike<number>, b: ArrayLike<number>, what: string): void {
  assert.equal(a.length, b.length, `length of ${what}`);
  for (let i = 0; i < b.length; i++) {
    const same = a[i] === b[i] || (Number.isNaN(a[i]) && Number.isNaN(b[i]));
    if (!same) assert.fail(`${what}[${i}] is ${a[i]}, not ${b[i]}`);
  }
}

/** Columns [dIn, d) of rows are zero. */
export function assertZeroPadding(rows: Float32Array, dIn: number, d: number, what: string): void {
  rows.forEach((value, i) => {
    if (i % d >= dIn && value !== 0) assert.fail(`padding of ${what}: ${value} in row ${Math.floor(i / d)}`);
  });
}
