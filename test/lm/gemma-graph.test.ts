import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chunkRows, tokenLosses } from '../../src/eval/token-losses.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { GemmaGraph } from '../../src/lm/gemma-graph.js';
import { allHooks } from '../../src/lm/hooks.js';
import { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';
import { openGolden, relativeDifference } from '../golden.js';

const CONTEXT = 256;
const checkpoint = await openCheckpoint('assets/tiny-gemma');
const golden = await openGolden('tiny-gemma');
const tokens = await golden.ints('tokens');
const { Tensor } = await onnxRuntime();

test('every hook at every layer equals transformers within 1e-4 of its largest entry', async () => {
  const hooks = allHooks(checkpoint.config);
  assert.equal(hooks.length, 36);
  const g = new GraphBuilder('all-hooks');
  const input = g.input('tokens', 'int64', ['batch', CONTEXT]);
  const widths = new Map(hooks.map(({ name, width }) => [name, width]));
  new GemmaGraph(g, checkpoint, CONTEXT).residual(input, (name, value) => {
    g.output(name, value, 'float32', ['batch', CONTEXT, widths.get(name)!]);
    return value;
  });
  const session = await openSession(g.encode());
  const first = BigInt64Array.from(tokens.subarray(0, CONTEXT), BigInt);
  const outputs = await session.run({ tokens: new Tensor('int64', first, [1, CONTEXT]) });
  const positions = await golden.ints('positions');
  for (const { name, width } of hooks) {
    const values = outputs[name]!.data as Float32Array;
    assert.equal(values.length, CONTEXT * width, name);
    const sampled = [...positions].flatMap((t) => [...values.subarray(t * width, (t + 1) * width)]);
    const difference = relativeDifference(sampled, await golden.floats(name));
    assert.ok(difference < 1e-4, `${name}: ${difference}`);
    // Positions that were not sampled are held by the norm and the largest entry over the whole context.
    const norm = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
    const largest = values.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    assert.ok(Math.abs(norm / (await golden.scalar(`norm/${name}`)) - 1) < 1e-5, `norm of ${name}`);
    assert.ok(Math.abs(largest / (await golden.scalar(`absmax/${name}`)) - 1) < 1e-4, `largest entry of ${name}`);
  }
  await session.release();
});

/** −log p of every next token of the golden contexts, through the chunked loss. */
async function nextTokenLosses(contexts: number, chunk: number): Promise<Float32Array> {
  const g = new GraphBuilder('loss');
  const input = g.input('tokens', 'int64', ['batch', CONTEXT]);
  const rows = g.input('rows', 'int64', ['rows']);
  const targets = g.input('targets', 'int64', ['rows']);
  const lm = new GemmaGraph(g, checkpoint, CONTEXT);
  const hidden = g.reshape(lm.finalNorm(lm.residual(input, (_, value) => value)), 1, -1, checkpoint.config.hidden);
  const losses = tokenLosses(g, g.gather(hidden, rows, 1), (h, body) => lm.logits(h, body), targets, 1, chunk);
  g.output('nll', losses.nll, 'float32', ['chunks', 1, chunk]);
  const session = await openSession(g.encode());
  const used = tokens.subarray(0, contexts * CONTEXT);
  const positions = [...used.keys()].filter((i) => i % CONTEXT < CONTEXT - 1);
  const padded = Math.ceil(positions.length / chunk) * chunk;
  const int64 = (values: number[]) => {
    const data = new BigInt64Array(padded);
    for (const [i, value] of values.entries()) data[i] = BigInt(value);
    return new Tensor('int64', data, [padded]);
  };
  const { nll } = await session.run({
    tokens: new Tensor('int64', BigInt64Array.from(used, BigInt), [contexts, CONTEXT]),
    rows: int64(positions),
    targets: int64(positions.map((i) => used[i + 1]!)),
  });
  await session.release();
  return (nll!.data as Float32Array).slice(0, positions.length);
}

test('mean NLL on 20 validation contexts equals transformers within 1e-4', async () => {
  const nll = await nextTokenLosses(20, 1024);
  const mean = nll.reduce((sum, x) => sum + x, 0) / nll.length;
  assert.equal(nll.length, 20 * 255);
  assert.ok(Math.abs(mean - (await golden.scalar('mean_nll'))) < 1e-4, `${mean}`);
  const expected = await golden.floats('nll');
  assert.ok(relativeDifference(nll, expected) < 1e-4);
});

test('the chunk size of the loss does not change it', async () => {
  const whole = await nextTokenLosses(2, 510);
  for (const chunk of [1, 7, 333]) {
    assert.ok(relativeDifference(await nextTokenLosses(2, chunk), whole) < 1e-6, `chunks of ${chunk}`);
  }
});

test('logits of one chunk stay bounded whatever the vocabulary', () => {
  for (const [vocabulary, variants] of [
    [4096, 2],
    [256_000, 3],
    [256_000, 40],
  ] as const) {
    const rows = chunkRows(vocabulary, variants);
    assert.ok(rows >= 1 && rows * vocabulary * variants * 4 <= 128 * 2 ** 20, `${rows} rows of ${vocabulary}`);
  }
});
