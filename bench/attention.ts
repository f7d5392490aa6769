/**
 * Milliseconds of the forms of attention (lm/attention.ts) on the CPU, at sizes of real layers; they must agree.
 *
 *     npm run bench:attention
 */

import { attention } from '../src/lm/attention.js';
import { GraphBuilder } from '../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../src/onnx/session.js';
import { Generator } from '../src/random/generator.js';
import { circumstances, spread, writeSection } from './section.js';

const THREADS = 2;
const RUNS = 7;
const FORMS = ['Attention', 'GroupQueryAttention', 'chunks'] as const;

interface Size {
  readonly batch: number;
  readonly context: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly window: number | null;
  readonly cap: number | null;
}

const SIZES: readonly Size[] = [
  { batch: 16, context: 256, heads: 4, kvHeads: 4, headDim: 64, window: null, cap: null },
  { batch: 2, context: 1024, heads: 8, kvHeads: 1, headDim: 256, window: null, cap: null },
  { batch: 2, context: 1024, heads: 8, kvHeads: 4, headDim: 256, window: null, cap: 50 },
  { batch: 2, context: 1024, heads: 4, kvHeads: 1, headDim: 256, window: 512, cap: null },
  { batch: 1, context: 2048, heads: 8, kvHeads: 4, headDim: 256, window: 512, cap: 50 },
];

async function measure(size: Size): Promise<string> {
  const { batch, context, heads, kvHeads, headDim, window, cap } = size;
  const { Tensor } = await onnxRuntime();
  const random = new Generator(0, 0, 0);
  const feed = (count: number) => {
    const values = Float32Array.from({ length: batch * context * count * headDim }, () => random.normal());
    return new Tensor('float32', values, [batch, context, count * headDim]);
  };
  const feeds = { q: feed(heads), k: feed(kvHeads), v: feed(kvHeads) };
  const shape = { heads, kvHeads, headDim, attentionScale: headDim ** -0.5, attentionSoftcap: cap };
  const times: string[] = [];
  const outputs: Float32Array[] = [];
  for (const form of FORMS) {
    const g = new GraphBuilder(form);
    const [q, k, v] = (['q', 'k', 'v'] as const).map((name) =>
      g.input(name, 'float32', ['batch', context, feeds[name].dims[2]!]),
    );
    const z = attention(g, form, shape, { q: q!, k: k!, v: v!, context, window });
    g.output('z', z, 'float32', ['batch', context, heads * headDim]);
    const session = await openSession(g.encode(), { threads: THREADS });
    outputs.push((await session.run(feeds)).z!.data as Float32Array);
    const taken: number[] = [];
    for (let run = 0; run < RUNS; run++) {
      const start = performance.now();
      await session.run(feeds);
      taken.push(performance.now() - start);
    }
    const { median, least, most } = spread(taken);
    times.push(`${median.toFixed(0)} (${least.toFixed(0)} to ${most.toFixed(0)})`);
    await session.release();
  }
  for (const output of outputs.slice(1)) {
    const worst = output.reduce((most, x, i) => Math.max(most, Math.abs(x - outputs[0]![i]!)), 0);
    if (!(worst < 1e-4)) throw new Error(`the forms differ by ${worst} at ${JSON.stringify(size)}`);
  }
  const label = `${batch} × ${context}, ${heads}/${kvHeads} heads of ${headDim}`;
  return `| ${label} | ${window ?? 'none'} | ${cap ?? 'none'} | ${times.join(' | ')} |`;
}

const rows: string[] = [];
for (const size of SIZES) rows.push(await measure(size));
const text = [
  `Milliseconds on ${THREADS} threads in float32, median of ${RUNS} runs (least to most). \`npm run bench:attention\`.`,
  '',
  `| contexts, heads | window | soft-cap | ${FORMS.join(' | ')} |`,
  '|---|---|---|---|---|',
  ...rows,
  '',
  `${circumstances()}.`,
];
writeSection('attention', 'Attention operators', text.join('\n'));
