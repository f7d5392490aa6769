import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { openGolden, relativeDifference } from '../golden.js';
import { nextTokenLosses, runHooks } from './run-model.js';

const CONTEXT = 256;
const checkpoint = await openCheckpoint('assets/tiny-gemma');
const golden = await openGolden('tiny-gemma');
const tokens = await golden.ints('tokens');

test('every hook at every layer equals transformers within 1e-4 of its largest entry', async () => {
  const hooks = checkpoint.config.hooks;
  assert.equal(hooks.length, 62);
  const outputs = await runHooks(checkpoint, tokens.subarray(0, CONTEXT), CONTEXT);
  const positions = await golden.ints('positions');
  for (const { name, width } of hooks) {
    const values = outputs.get(name)!;
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
});

/** The losses of the first `contexts` golden contexts. */
const lossesOf = (contexts: number, chunk: number) =>
  nextTokenLosses(checkpoint, tokens.subarray(0, contexts * CONTEXT), CONTEXT, chunk);

test('mean NLL on 20 validation contexts equals transformers within 1e-4', async () => {
  const nll = await lossesOf(20, 1024);
  const mean = nll.reduce((sum, x) => sum + x, 0) / nll.length;
  assert.equal(nll.length, 20 * 255);
  assert.ok(Math.abs(mean - (await golden.scalar('mean_nll'))) < 1e-4, `${mean}`);
  const expected = await golden.floats('nll');
  assert.ok(relativeDifference(nll, expected) < 1e-4);
});

test('the chunk size of the loss does not change it', async () => {
  const whole = await lossesOf(2, 510);
  for (const chunk of [1, 7, 333]) {
    assert.ok(relativeDifference(await lossesOf(2, chunk), whole) < 1e-6, `chunks of ${chunk}`);
  }
});
