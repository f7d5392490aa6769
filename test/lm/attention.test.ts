import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AttentionForm, type AttentionShape, attention, chunksOf } from '../../src/lm/attention.js';
import { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';
import { Generator } from '../../src/random/generator.js';

const BATCH = 2;

/** Attention one query after another, in double precision. */
function plain(
  { heads, kvHeads, headDim, attentionScale, attentionSoftcap }: AttentionShape,
  [q, k, v]: readonly Float32Array[],
  context: number,
  window: number | null,
): Float32Array {
  const z = new Float32Array(BATCH * context * heads * headDim);
  const at = (b: number, t: number, head: number, count: number) => ((b * context + t) * count + head) * headDim;
  for (let b = 0; b < BATCH; b++) {
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads));
      for (let i = 0; i < context; i++) {
        const first = window === null ? 0 : Math.max(0, i - window + 1);
        const scores: number[] = [];
        for (let j = first; j <= i; j++) {
          let score = 0;
          for (let c = 0; c < headDim; c++) {
            score += q![at(b, i, head, heads) + c]! * k![at(b, j, kvHead, kvHeads) + c]!;
          }
          score *= attentionScale;
          scores.push(attentionSoftcap === null ? score : attentionSoftcap * Math.tanh(score / attentionSoftcap));
        }
        const most = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - most));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (let c = 0; c < headDim; c++) {
          const value = weights.reduce((sum, w, n) => sum + w * v![at(b, first + n, kvHead, kvHeads) + c]!, 0);
          z[at(b, i, head, heads) + c] = value / total;
        }
      }
    }
  }
  return z;
}

/** Scores of a few units, so that a soft-cap of 5 bends them. */
const SCALE = 0.6;

interface Case {
  readonly context: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly window: number | null;
  readonly cap: number | null;
}

const CASES: readonly Case[] = [
  { context: 100, heads: 2, kvHeads: 2, headDim: 8, window: null, cap: null },
  { context: 300, heads: 4, kvHeads: 2, headDim: 8, window: null, cap: null },
  { context: 300, heads: 4, kvHeads: 1, headDim: 12, window: 40, cap: null },
  { context: 256, heads: 3, kvHeads: 3, headDim: 16, window: 200, cap: 5 },
  { context: 300, heads: 4, kvHeads: 2, headDim: 8, window: null, cap: 5 },
  { context: 131, heads: 6, kvHeads: 2, headDim: 12, window: 1, cap: 5 },
  { context: 200, heads: 2, kvHeads: 1, headDim: 8, window: 500, cap: null },
];

for (const { context, heads, kvHeads, headDim, window, cap } of CASES) {
  const label = `${heads}/${kvHeads} heads of ${headDim}, context ${context}, window ${window}, cap ${cap}`;
  test(`every form of attention is the plain one: ${label}`, async () => {
    const { Tensor } = await onnxRuntime();
    const random = new Generator(3, 1, 4);
    const widths = [heads, kvHeads, kvHeads].map((count) => count * headDim);
    const values = widths.map((width) =>
      Float32Array.from({ length: BATCH * context * width }, () => 2 * random.normal()),
    );
    const shape = { heads, kvHeads, headDim, attentionScale: SCALE, attentionSoftcap: cap };
    const wanted = plain(shape, values, context, window);
    const forms: AttentionForm[] = ['chunks', 'Attention'];
    if (headDim % 8 === 0) forms.push('GroupQueryAttention');
    for (const form of forms) {
      const g = new GraphBuilder(form);
      const [q, k, v] = widths.map((width, i) => g.input('qkv'[i]!, 'float32', ['batch', context, width]));
      const z = attention(g, form, shape, { q: q!, k: k!, v: v!, context, window });
      g.output('z', z, 'float32', ['batch', context, widths[0]!]);
      const session = await openSession(g.encode(), { threads: 1 });
      const feeds = values.map((data, i) => ['qkv'[i]!, new Tensor('float32', data, [BATCH, context, widths[i]!])]);
      const { z: found } = await session.run(Object.fromEntries(feeds));
      await session.release();
      assert.deepEqual(found!.dims, [BATCH, context, heads * headDim]);
      const off = (found!.data as Float32Array).reduce((most, x, i) => Math.max(most, Math.abs(x - wanted[i]!)), 0);
      assert.ok(off < 2e-5, `${form} is off by ${off}`);
    }
  });
}

test('chunks cover every query once, and each sees its first query’s window', () => {
  for (const [context, window] of [
    [1, null],
    [128, 5],
    [129, 5],
    [1000, null],
    [8192, 4096],
    [5000, 1],
  ] as const) {
    const chunks = chunksOf(context, window);
    assert.ok(chunks.length <= 16, `${chunks.length} chunks of ${context}`);
    assert.deepEqual(
      chunks.map(({ first }) => first),
      [0, ...chunks.slice(0, -1).map(({ last }) => last)],
    );
    assert.equal(chunks.at(-1)!.last, context);
    for (const { first, firstKey } of chunks) assert.equal(firstKey, Math.max(0, first - (window ?? context) + 1));
  }
});
