import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { continueTexts } from '../../src/generate/continuation.js';
import { tokenChooser } from '../../src/generate/sampling.js';
import { Stepper } from '../../src/generate/stepper.js';
import { type Checkpoint, openCheckpoint, writeModel } from '../../src/lm/checkpoint.js';
import { noHook } from '../../src/lm/hooks.js';
import { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';
import { Generator } from '../../src/random/generator.js';
import { relativeDifference } from '../golden.js';
import { type Json, openRandomModel, RANDOM_MODELS, type RandomModel, writeCheckpoint } from '../lm/random-model.js';
import { temporaryDirectory } from '../temporary.js';

/** Positions of the models here: more than those of their other goldens have. */
const POSITIONS = 256;
const GOLDEN = JSON.parse(readFileSync('test/golden/generation.json', 'utf8')) as Record<
  RandomModel,
  { prompt: number[]; tokens: number[] }
>;
const root = temporaryDirectory();
const placement = { device: 'cpu', precision: 'float32' } as const;

const randomTokens = (count: number) => {
  const random = new Generator(0, 0, 0);
  return Array.from({ length: count }, () => 3 + random.below(90));
};

/** The model of a golden with more positions. */
async function longer(name: RandomModel): Promise<Checkpoint> {
  const { shapes, config } = await openRandomModel(name);
  const key = name.startsWith('gpt2') ? 'n_positions' : 'max_position_embeddings';
  const text = config.text_config as Json | undefined;
  const grown = text ? { ...config, text_config: { ...text, [key]: POSITIONS } } : { ...config, [key]: POSITIONS };
  const positions = Object.entries(shapes).map(([tensor, shape]): [string, number[]] =>
    tensor.endsWith('wpe.weight') ? [tensor, [POSITIONS, shape[1]!]] : [tensor, shape],
  );
  return openCheckpoint(
    await writeCheckpoint(`${root}/${name}`, { shapes: Object.fromEntries(positions), config }, { config: grown }),
  );
}

/** Logits at every token of one text, by the graph that sees it whole. */
async function uncached(checkpoint: Checkpoint, tokens: readonly number[]): Promise<Float32Array> {
  const g = new GraphBuilder('whole');
  const input = g.input('tokens', 'int64', [1, tokens.length]);
  const lm = writeModel(g, checkpoint, tokens.length);
  const logits = lm.logits(lm.finalNorm(lm.residual(input, noHook)));
  g.output('logits', logits, 'float32', [1, tokens.length, checkpoint.config.vocabulary]);
  const session = await openSession(g.encode());
  const { Tensor } = await onnxRuntime();
  const feed = new Tensor('int64', BigInt64Array.from(tokens, BigInt), [1, tokens.length]);
  const { data } = (await session.run({ tokens: feed })).logits!;
  await session.release();
  return data as Float32Array;
}

for (const name of RANDOM_MODELS) {
  test(`${name}: with kept keys, logits over 200 tokens are those without, and greedy tokens are transformers'`, async () => {
    const checkpoint = await longer(name);
    const { prompt, tokens } = GOLDEN[name];
    // A random model's text soon repeats itself; windows are tested with tokens that differ.
    const all = randomTokens(prompt.length + tokens.length);
    const whole = await uncached(checkpoint, all);
    const { vocabulary } = checkpoint.config;
    const stepper = await Stepper.open(checkpoint, { placement, longest: all.length });
    stepper.begin({ pads: [0] });
    let worst = 0;
    for (let at = prompt.length; at <= all.length; at++) {
      const logits = await stepper.step(at === prompt.length ? all.slice(0, at) : [all[at - 1]!]);
      const row = whole.subarray((at - 1) * vocabulary, at * vocabulary);
      worst = Math.max(worst, relativeDifference(logits, row));
    }
    assert.ok(worst < 1e-4, `${worst}`);

    const [continued] = await continueTexts(
      stepper,
      [
        {
          tokens: prompt,
          choose: tokenChooser({ temperature: 0, seed: 0 }, 0),
          notFinite: new Refusal('', '', 'generate/not-finite'),
        },
      ],
      { most: tokens.length, ends: new Set(), stops: [], bytes: () => new Uint8Array(0), stop: { signal: undefined } },
    );
    assert.deepEqual(continued!.ids, tokens);
    await stepper.release();
  });
}

for (const name of ['gemma2-mqa', 'gemma4-e', 'gpt2-scaled', 'neox-parallel'] as const) {
  test(`${name}: texts of several lengths together, in parts, are what each is alone`, async () => {
    const checkpoint = await openCheckpoint(`${root}/${name}`);
    const { vocabulary } = checkpoint.config;
    const texts = [randomTokens(31), randomTokens(18).reverse(), [17]];
    const longest = texts[0]!.length;
    const pads = texts.map(({ length }) => longest - length);
    const stepper = await Stepper.open(checkpoint, { placement, longest });
    stepper.begin({ pads });
    const padded = texts.map((tokens, i) => [...new Array<number>(pads[i]!).fill(tokens[0]!), ...tokens]);
    let logits = new Float32Array(0);
    // Within the padding of the second text, and within its tokens.
    for (const [from, to] of [
      [0, 4],
      [4, 22],
      [22, 30],
      [30, 31],
    ] as const) {
      logits = new Float32Array(await stepper.step(padded.flatMap((row) => row.slice(from, to))));
    }
    for (const [i, tokens] of texts.entries()) {
      const alone = (await uncached(checkpoint, tokens)).slice(-vocabulary);
      const difference = relativeDifference(logits.subarray(i * vocabulary, (i + 1) * vocabulary), alone);
      assert.ok(difference < 1e-4, `${i}: ${difference}`);
    }
    await stepper.release();
  });
}

for (const name of ['gelu-1l', 'gelu-2l'] as const) {
  test(`${name}: with kept keys, logits are those without`, async () => {
    const { tokens, context, config } = await openRandomModel(name);
    const directory = join(root, name);
    mkdirSync(directory);
    writeFileSync(join(directory, 'config.json'), JSON.stringify(config));
    copyFileSync(`test/golden/${name}.pth`, join(directory, 'model_final.pth'));
    const checkpoint = await openCheckpoint(directory);
    const text = [...tokens.slice(0, context)];
    const whole = await uncached(checkpoint, text);
    const { vocabulary } = checkpoint.config;
    const stepper = await Stepper.open(checkpoint, { placement, longest: context });
    stepper.begin({ pads: [0] });
    for (let at = 3; at <= context; at++) {
      const logits = await stepper.step(at === 3 ? text.slice(0, 3) : [text[at - 1]!]);
      const row = whole.subarray((at - 1) * vocabulary, at * vocabulary);
      assert.ok(relativeDifference(logits, row) < 1e-4, `${at}`);
    }
    await stepper.release();
  });
}

test('a stepper has room for the number of tokens it was opened for, and for no more', async () => {
  const stepper = await Stepper.open(await openCheckpoint(`${root}/llama-gqa`), { placement, longest: 4 });
  stepper.begin({ pads: [0] });
  await stepper.step([3, 4, 5]);
  await assert.rejects(() => stepper.step([6, 7]), /room/);
  await stepper.step([6]);
  // 3 layers, keys and values of 2 heads of 10 entries each, in float32.
  assert.equal(stepper.keptBytes(5), 3 * 2 * 4 * 5 * 2 * 10 * 4);
  await stepper.release();
});
