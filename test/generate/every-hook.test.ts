import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { rowChanges, unchangedRow } from '../../src/generate/changes.js';
import { changeFeeds } from '../../src/generate/steering-feeds.js';
import { STEERED, type SteeredSae, steeringHook } from '../../src/generate/steering-graph.js';
import { Stepper } from '../../src/generate/stepper.js';
import { type Checkpoint, openCheckpoint, writeModel } from '../../src/lm/checkpoint.js';
import type { Hook } from '../../src/lm/hooks.js';
import { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';
import type { Change } from '../../src/sae/feature-changes.js';
import { initialise } from '../../src/sae/registry.js';
import { square } from '../../src/sae/sae.js';
import { openSae, saveSae } from '../../src/sae/saelens.js';
import { relativeDifference } from '../golden.js';
import { openRandomModel, type RandomModel, writeCheckpoint } from '../lm/random-model.js';
import { temporaryDirectory } from '../temporary.js';

const root = temporaryDirectory();
const placement = { device: 'cpu', precision: 'float32' } as const;
const TOKENS = [2, 17, 40, 5, 88, 23, 41, 9, 60, 33, 71, 12, 3, 54];
const CHANGES: Change[] = [
  { sae: 0, feature: 0, operation: 'add', strength: 3 },
  { sae: 0, feature: 2, operation: 'scale', strength: -2 },
];
/** Not at the first token, nor at all of the others. */
const at = (position: number) => position % 3 !== 0;

async function randomSae(hook: Hook): Promise<SteeredSae> {
  const path = join(root, `sae-${hook.width}`);
  mkdirSync(path, { recursive: true });
  await saveSae(path, initialise('standard', square(hook.width, 4), 1), {});
  return { files: await openSae(path), hook, input: hook, errorTerm: true };
}

/** Logits of the last token by the graph that sees the text whole. */
async function whole(checkpoint: Checkpoint, sae: SteeredSae): Promise<Float32Array> {
  const g = new GraphBuilder('whole');
  const input = g.input('tokens', 'int64', [1, TOKENS.length]);
  const lm = writeModel(g, checkpoint, TOKENS.length);
  const last = g.gather(lm.finalNorm(lm.residual(input, steeringHook(g, [sae], TOKENS.length))), g.int(-1), 1);
  g.output('logits', lm.logits(last), 'float32', [1, checkpoint.config.vocabulary]);
  const session = await openSession(g.encode());
  const { Tensor } = await onnxRuntime();
  const dims = [1, TOKENS.length];
  const steered = Float32Array.from(TOKENS, (_, position) => Number(at(position)));
  const outputs = await session.run({
    ...changeFeeds([sae], [rowChanges(CHANGES, 1, at)], Tensor),
    tokens: new Tensor('int64', BigInt64Array.from(TOKENS, BigInt), dims),
    [STEERED]: new Tensor('float32', steered, dims),
  });
  await session.release();
  return outputs.logits!.data as Float32Array;
}

for (const name of ['gemma2-mqa', 'gemma4-e', 'gemma4-dense', 'neox-parallel', 'gpt2-tied'] satisfies RandomModel[]) {
  test(`${name}: features of an SAE at any hook are changed a step at a time as in a whole text`, async () => {
    const checkpoint = await openCheckpoint(await writeCheckpoint(join(root, name), await openRandomModel(name)));
    const { hooks, vocabulary } = checkpoint.config;
    const plain = await Stepper.open(checkpoint, { placement, longest: TOKENS.length });
    plain.begin({ pads: [0] });
    const clean = (await plain.step(TOKENS)).slice();
    await plain.release();
    let moved = 0;
    for (const hook of hooks.filter(({ layer, name, site }) => layer === 1 || name === site)) {
      const sae = await randomSae(hook);
      const stepper = await Stepper.open(checkpoint, { placement, longest: TOKENS.length, saes: [sae] });
      // A text without a change next to it, in the same steps.
      stepper.begin({ pads: [0, 0], changes: [rowChanges(CHANGES, 1, at), unchangedRow(CHANGES, 1)] });
      let logits = new Float32Array(0);
      for (const part of [TOKENS.slice(0, 9), ...TOKENS.slice(9).map((token) => [token])]) {
        logits = new Float32Array(await stepper.step([...part, ...part]));
      }
      const [steered, unsteered] = [logits.subarray(0, vocabulary), logits.subarray(vocabulary)];
      assert.ok(relativeDifference(steered, await whole(checkpoint, sae)) < 1e-4, hook.name);
      assert.ok(relativeDifference(unsteered, clean) < 1e-5, hook.name);
      if (relativeDifference(steered, clean) > 1e-3) moved++;
      await stepper.release();
    }
    assert.ok(moved >= 10, `${moved}`);
  });
}

test('in half precision, logits are those of single precision but for rounding', async () => {
  for (const name of ['gemma2-mqa', 'gemma4-e', 'gpt2-tied']) {
    const checkpoint = await openCheckpoint(join(root, name));
    const logits: Float32Array[] = [];
    for (const precision of ['float32', 'float16'] as const) {
      const stepper = await Stepper.open(checkpoint, {
        placement: { device: 'cpu', precision },
        longest: TOKENS.length,
      });
      stepper.begin({ pads: [0] });
      await stepper.step(TOKENS.slice(0, 9));
      logits.push(new Float32Array(await stepper.step(TOKENS.slice(9))));
      await stepper.release();
    }
    const difference = relativeDifference(logits[1]!, logits[0]!);
    assert.ok(difference > 0 && difference < 3e-2, `${name}: ${difference}`);
  }
});
