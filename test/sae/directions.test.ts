import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator, Purpose } from '../../src/random/generator.js';
import { directions, directionsInThreads } from '../../src/sae/directions.js';

/** Rows of W_dec and columns of W_enc, drawn one number after another. */
function oneByOne({ dIn, dOut, dSae }: { dIn: number; dOut: number; dSae: number }, seed: number) {
  const random = new Generator(seed, Purpose.initialisation);
  const unit = (length: number) => {
    const row = Float64Array.from({ length }, () => random.normal());
    const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
    return Float32Array.from(row, (x) => x / norm);
  };
  const rows = Array.from({ length: dSae }, () => unit(dOut));
  const columns = dIn === dOut ? rows : Array.from({ length: dSae }, () => unit(dIn));
  return {
    W_enc: Float32Array.from({ length: dIn * dSae }, (_, k) => columns[k % dSae]![Math.floor(k / dSae)]!),
    W_dec: Float32Array.from({ length: dSae * dOut }, (_, k) => rows[Math.floor(k / dOut)]![k % dOut]!),
  };
}

// More features than are drawn at a time, not a multiple of anything; an input of another width.
for (const sizes of [
  { dIn: 7, dOut: 7, dSae: 2100 },
  { dIn: 35, dOut: 3, dSae: 1030 },
]) {
  test(`directions are those of one generator, whoever draws them: ${JSON.stringify(sizes)}`, async () => {
    const expected = oneByOne(sizes, 11);
    assert.deepEqual(directions(sizes, 11), expected);
    assert.deepEqual(await directionsInThreads(sizes, 11, 2, 0), expected);
  });
}
