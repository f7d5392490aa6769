import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { PARAMETERS } from '../../../../src/sae/registry.js';
import { parameterShape, square } from '../../../../src/sae/sae.js';
import type { EngineSettings } from '../../../../src/train/engines/engine.js';
import { featuresOf, padded, putPart, takePart } from '../../../../src/train/engines/sparse/memory.js';
import { cut } from '../../../../src/train/engines/sparse/select.js';
import { stateShapes } from '../../../../src/train/engines/state.js';
import { assertZeroPadding } from './compare.js';
import { normals } from './memory.js';

function settings(architecture: 'gated' | 'standard', beta1: number): EngineSettings {
  const sizes = { dIn: 5, dSae: 11, batch: 3, deadWindow: 1 };
  return { architecture, ...sizes, batchDType: 'float32', scale: 1, beta1, beta2: 0.999 };
}

test('workers share the features: each belongs to one, and shares differ by one at most', () => {
  for (const [dSae, workers] of [
    [1, 1],
    [11, 3],
    [64, 64],
    [1000, 7],
    [16384, 12],
  ] as const) {
    const ranges = Array.from({ length: workers }, (_, index) => featuresOf(dSae, index, workers));
    assert.equal(ranges[0]![0], 0);
    assert.equal(ranges.at(-1)![1], dSae);
    for (let i = 1; i < workers; i++) assert.equal(ranges[i]![0], ranges[i - 1]![1]);
    const sizes = ranges.map(([first, last]) => last - first);
    assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1, `${sizes}`);
    assert.ok(Math.max(...sizes) <= Math.ceil(dSae / workers), 'memory is planned for that many');
  }
});

test('strips cover features once, each as long as allowed but the last', () => {
  assert.deepEqual(cut(0, 0, 4), []);
  assert.deepEqual(cut(0, 4, 4), [{ first: 0, rows: 4 }]);
  assert.deepEqual(cut(7, 9, 4), [
    { first: 7, rows: 4 },
    { first: 11, rows: 4 },
    { first: 15, rows: 1 },
  ]);
  assert.deepEqual(cut(2, 3, 10), [{ first: 2, rows: 3 }]);
});

for (const architecture of ['gated', 'standard'] as const) {
  test(`the state of a ${architecture} SAE is put together from the workers’ parts`, () => {
    const random = new Generator(80);
    for (const beta1 of [0, 0.9]) {
      const s = settings(architecture, beta1);
      const shapes = stateShapes(s);
      const state = new Map(
        [...shapes].map(([name, shape]) => [
          name,
          normals(
            random,
            shape.reduce((a, b) => a * b, 1),
          ),
        ]),
      );
      for (const workers of [1, 3, 11]) {
        const ranges = Array.from({ length: workers }, (_, index) => featuresOf(s.dSae, index, workers));
        for (const [name, values] of state) {
          const parts = ranges.map((range) => takePart(name, values, { ...s, dOut: s.dIn }, range));
          const whole = new Float32Array(values.length).fill(Number.NaN);
          parts.forEach((part, i) => {
            putPart(name, part, whole, { ...s, dOut: s.dIn }, ranges[i]!);
          });
          assert.deepEqual(whole, values, `${name} of ${workers} workers`);
        }
      }
    }
  });

  test(`parts of a ${architecture} SAE hold their features’ numbers, rows padded with zeros`, () => {
    const random = new Generator(81);
    const [dIn, dSae] = [5, 11];
    const d = padded(dIn);
    const [first, last] = [3, 8];
    for (const parameter of PARAMETERS[architecture]) {
      const length = parameterShape(parameter, square(dIn, dSae)).reduce((a, b) => a * b, 1);
      for (const name of [parameter, `m/${parameter}`, `v/${parameter}`]) {
        const values = normals(random, length);
        const part = takePart(name, values, { dIn, dOut: dIn, dSae }, [first, last]);
        if (parameter === 'b_dec') {
          assert.deepEqual(
            part,
            Float32Array.from({ length: d }, (_, i) => values[i] ?? 0),
            name,
          );
        } else if (parameter === 'W_enc' || parameter === 'W_dec') {
          assert.equal(part.length, (last - first) * d, name);
          assertZeroPadding(part, dIn, d, name);
          for (let j = first; j < last; j++) {
            for (let i = 0; i < dIn; i++) {
              const wanted: number = values[parameter === 'W_enc' ? i * dSae + j : j * dIn + i]!;
              assert.equal(part[(j - first) * d + i], wanted, `${name}, feature ${j}, dimension ${i}`);
            }
          }
        } else {
          assert.deepEqual(part, values.slice(first, last), name);
        }
      }
    }
  });
}

test('rows of W_dec and b_dec have the target’s width, rows of W_enc the input’s', () => {
  const sizes = { dIn: 5, dOut: 18, dSae: 7 };
  const lengths = { W_enc: 5 * 7, W_dec: 7 * 18, b_dec: 18 };
  for (const [name, length] of Object.entries(lengths)) {
    const values = normals(new Generator(82), length);
    const whole = new Float32Array(length);
    for (const range of [
      [0, 4],
      [4, 7],
    ] as const) {
      const part = takePart(name, values, sizes, range);
      assert.equal(part.length, name === 'b_dec' ? 32 : (range[1] - range[0]) * (name === 'W_enc' ? 16 : 32));
      putPart(name, part, whole, sizes, range);
    }
    assert.deepEqual(whole, values, name);
  }
});
