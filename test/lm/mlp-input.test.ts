import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openCheckpoint, writeModel } from '../../src/lm/checkpoint.js';
import { type HookFunction, hookAt } from '../../src/lm/hooks.js';
import { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';
import { relativeDifference } from '../golden.js';
import { temporaryDirectory } from '../temporary.js';
import { openRandomModel, writeCheckpoint } from './random-model.js';

const SITES = ['ln2.hook_normalized', 'mlp.hook_in'] as const;
const name = (site: string) => `blocks.1.${site}`;

/** The residual stream after the last block, with what `replace` makes of the value at one hook. */
async function residual(at: string, replace: (g: GraphBuilder) => HookFunction): Promise<Float32Array> {
  const model = await openRandomModel('gemma2-mqa');
  const checkpoint = await openCheckpoint(await writeCheckpoint(temporaryDirectory(), model));
  const g = new GraphBuilder('replaced');
  const tokens = g.input('tokens', 'int64', ['batch', model.context]);
  const last = writeModel(g, checkpoint, model.context).residual(tokens, hookAt([at], replace(g)));
  g.output('last', last, 'float32', ['batch', model.context, checkpoint.config.hidden]);
  const { Tensor } = await onnxRuntime();
  const session = await openSession(g.encode());
  const ids = BigInt64Array.from(model.tokens.subarray(0, model.context), BigInt);
  const outputs = await session.run({ tokens: new Tensor('int64', ids, [1, model.context]) });
  await session.release();
  return (outputs.last!.data as Float32Array).slice();
}

test('a value that replaces the normed input of an MLP is weighted, and reaches the MLP', async () => {
  const untouched = await residual(name('mlp.hook_in'), () => (_, value) => value);
  for (const site of SITES) {
    const twiceHalf = await residual(name(site), (g) => (_, value) => g.mul(g.mul(value, g.scalar(2)), g.scalar(0.5)));
    assert.ok(relativeDifference(twiceHalf, untouched) < 1e-6, site);
  }
  const doubled = await Promise.all(
    SITES.map((site) => residual(name(site), (g) => (_, value) => g.mul(value, g.scalar(2)))),
  );
  assert.ok(relativeDifference(doubled[0]!, doubled[1]!) < 1e-6);
  assert.ok(relativeDifference(doubled[0]!, untouched) > 1e-2);
});
