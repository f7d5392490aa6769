import assert from 'node:assert/strict';
import { createReadStream, createWriteStream, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { harvestToStream } from '../../src/harvest/stream.js';
import {
  Activations,
  ActivationsStore,
  ActivationsStream,
  type ArchitectureOptions,
  bundled,
  evaluateSAEs,
  HookedTransformer,
  harvestActivations,
  SAE,
  type TrainOptions,
  trainSAE,
} from '../../src/library/index.js';
import { silent } from '../../src/progress/progress.js';
import { architectureFlags } from '../../src/sae/registry.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { curveOf, tinyActivations } from '../train/tiny-activations.js';

const HOOK = 'blocks.1.hook_mlp_out';
const root = temporaryDirectory();
const directory = await tinyActivations(root, HOOK);
const short = (name: string): TrainOptions => ({
  ...{ arch: 'topk', k: 8, dSae: 48, batch: 256, steps: 12, threads: 1, out: join(root, name) },
});

/** All activations of a store in the order of its files. */
async function stored(store: ActivationsStore): Promise<Activations> {
  const all = new Activations(new Float32Array(store.rows * store.dIn), store.dIn);
  let first = 0;
  for await (const { activations, tokens, positions } of store.shards()) {
    assert.deepEqual([tokens.length, positions.length], [activations.rows, activations.rows]);
    assert.ok(positions.every((position) => position > 0 && position < 128));
    all.data.set(activations.data, first * store.dIn);
    first += activations.rows;
  }
  assert.equal(first, store.rows);
  return all;
}

test('a store deals every row once per epoch, as float32, in an order set by the seed', async () => {
  const store = await ActivationsStore.open(directory);
  assert.deepEqual([store.hookName, store.dIn, store.rows, store.contextSize], [HOOK, 192, 4000, 128]);
  assert.equal(store.modelName, 'tiny-gemma');
  const all = await stored(store);
  const dealt = async (options: Parameters<ActivationsStore['batches']>[0]) => {
    const batches: Activations[] = [];
    for await (const batch of store.batches({ batchSize: 600, ...options })) batches.push(batch);
    return batches;
  };
  const inOrder = await dealt({ shuffle: false });
  assert.deepEqual(
    inOrder.map(({ rows }) => rows),
    [600, 600, 600, 600, 600, 600, 400],
  );
  assert.deepEqual(Float32Array.from(inOrder.flatMap(({ data }) => [...data])), all.data);
  const key = (row: Float32Array) => row.join();
  const keys = (batches: readonly Activations[]) =>
    batches.flatMap((batch) => Array.from({ length: batch.rows }, (_, i) => key(batch.row(i))));
  const mixed = keys(await dealt({ epochs: 2, seed: 1 }));
  assert.equal(mixed.length, 8000);
  for (const epoch of [mixed.slice(0, 4000), mixed.slice(4000)])
    assert.deepEqual(epoch.toSorted(), keys([all]).toSorted());
  assert.deepEqual(keys(await dealt({ seed: 1 })), mixed.slice(0, 4000));
  assert.notDeepEqual(keys(await dealt({ seed: 2 })), mixed.slice(0, 4000));
});

test('an SAE trained on an array is one trained on a store, and records where it came from', async (t) => {
  const model = await HookedTransformer.fromPretrained(bundled.model);
  t.after(() => model.close());
  const store = await ActivationsStore.open(directory);
  const activations = await stored(store);
  const sae = await trainSAE({ activations, hookName: HOOK, model, contextSize: 128 }, short('array'));
  t.after(() => sae.close());
  assert.deepEqual([sae.cfg.hookName, sae.cfg.contextSize, sae.cfg.prependBos], [HOOK, 128, true]);
  assert.deepEqual([sae.cfg.modelName, sae.cfg.architecture, sae.cfg.dSae], ['tiny-gemma', 'topk', 48]);
  assert.equal(curveOf(join(root, 'array')).at(-1)!.step, 12);

  const fromStore = await trainSAE(store, { ...short('store'), order: 'stored' });
  const fromArray = await trainSAE({ activations, hookName: HOOK }, { ...short('array-stored'), order: 'stored' });
  const [W, V] = [await fromStore.parameters(), await fromArray.parameters()];
  // The sample that a run starts from is drawn shard by shard.
  const cosine = (a: Float32Array, b: Float32Array) =>
    a.reduce((sum, value, i) => sum + value * b[i]!, 0) / (Math.hypot(...a) * Math.hypot(...b));
  assert.ok(cosine(W.W_dec!, V.W_dec!) > 0.99);
  assert.equal(fromArray.cfg.modelName, 'unknown');
});

test('a stopped run on an array continues as if it had not been stopped', async () => {
  const activations = await stored(await ActivationsStore.open(directory));
  const from = { activations, hookName: HOOK };
  const abort = new AbortController();
  const stopped = trainSAE(from, short('stopped'), {
    signal: abort.signal,
    onProgress: (done, total, unit) => {
      assert.deepEqual([total, unit], [12 * 256, 'token']);
      if (done >= 5 * 256) abort.abort();
    },
  });
  await assert.rejects(stopped, Interrupted);
  assert.ok(!existsSync(join(root, 'stopped', 'cfg.json')));
  const fewer = { activations: new Activations(activations.data.slice(0, 192 * 3000), 192), hookName: HOOK };
  await refuses(() => trainSAE(fewer, { ...short('stopped'), resume: true }), 'train/other-settings');
  const continued = await trainSAE(from, { ...short('stopped'), resume: true });
  const undisturbed = await trainSAE(from, short('undisturbed'));
  assert.deepEqual(await continued.parameters(), await undisturbed.parameters());
});

test('what cannot be trained on is refused, and nothing is written', async () => {
  const of = (data: Float32Array) => ({ activations: new Activations(data, 4), hookName: HOOK });
  const options = { ...short('nothing') };
  await refuses(() => trainSAE(of(new Float32Array(0)), options), 'activations/no-rows');
  await refuses(
    () => trainSAE(of(Float32Array.of(1, 2, 3, 4, 5, Number.NaN, 7, 8)), options),
    'activations/not-finite',
    'row 1',
  );
  await refusesUsage(() => trainSAE(of(new Float32Array(8)), { ...options, target: directory }), 'train/target-alone');
  await refusesUsage(() => trainSAE(directory, { ...options, dSea: 3 } as never), 'config/unknown-flag', 'd-sea');
  assert.ok(!existsSync(options.out));
});

test('harvest writes stores, and evaluate measures without a directory what it writes into one', async () => {
  const out = join(root, 'acts-2');
  const about = { model: bundled.model, corpus: bundled.validationText, context: 64, threads: 1 };
  const [store] = await harvestActivations({ ...about, hook: 'blocks.1.hook_mlp_*', tokens: 600, out });
  assert.deepEqual([store!.hookName, store!.rows, store!.directory], [HOOK, 600, join(out, HOOK)]);
  const sae = join(root, 'evaluated');
  await trainSAE(directory, short('evaluated'));
  const lines: string[] = [];
  const before = readdirSync(root);
  const measured = await evaluateSAEs({ ...about, sae, tokens: 600 }, { log: (line) => lines.push(line) });
  assert.ok(lines.length > 0);
  assert.deepEqual(readdirSync(root), before);
  const written = await evaluateSAEs({ ...about, sae: [sae], tokens: 600, out: join(root, 'eval') });
  assert.ok(existsSync(join(root, 'eval', 'eval.json')));
  const { training_curve: curve, ...figures } = written[0]!;
  assert.deepEqual({ ...measured[0]!, training_curve: curve }, { ...figures, training_curve: curve });
  assert.equal(measured[0]!.training_curve, null);
  assert.equal((await SAE.fromPretrained(sae)).cfg.dIn, 192);
});

test('batch sizes, epochs and seeds that cannot be are refused', async () => {
  const store = await ActivationsStore.open(directory);
  const first = (options: Parameters<ActivationsStore['batches']>[0]) => store.batches(options).next();
  for (const wrong of [0, -1, 1.5, Number.NaN]) {
    await refusesUsage(() => first({ batchSize: wrong }), 'config/wrong-value', 'batchSize');
    await refusesUsage(() => first({ epochs: wrong }), 'config/wrong-value', 'epochs');
  }
  await refusesUsage(() => first({ seed: -1 }), 'config/wrong-value', 'seed');
});

test('a stream is dealt as it comes, once', async () => {
  const path = join(root, 'rows.arrows');
  const about = { model: bundled.model, corpus: bundled.validationText, context: 64, threads: 1 };
  const config = harvestSchema.parse({ ...about, hook: [HOOK], tokens: 500, out: '-', dtype: 'float16' });
  const file = createWriteStream(path);
  await harvestToStream(config, file, silent, { signal: undefined });
  await new Promise((resolve) => file.end(resolve));
  const stream = await ActivationsStream.open(createReadStream(path));
  assert.deepEqual([stream.hookName, stream.rows, stream.dIn], [HOOK, 500, 192]);
  const rows: number[] = [];
  for await (const batch of stream.batches({ batchSize: 200 })) {
    assert.ok(batch.data instanceof Float32Array);
    rows.push(batch.rows);
  }
  await stream.close();
  assert.deepEqual(rows, [200, 200, 100]);
});

test("the library's options of architectures are those of the registry", () => {
  const named: Required<ArchitectureOptions> = {
    ...{ k: 1, kAux: 1, auxCoefficient: 1, multiTopk: true, prefixes: [], prefixWeights: [], ablate: [] },
    ...{ sparsityLoss: 'step', bandwidth: 1, tanhScale: 1, steToEncoder: true, thresholdInit: 1, preActLoss: 1 },
  };
  assert.deepEqual(Object.keys(named).sort(), Object.keys(architectureFlags).sort());
});
