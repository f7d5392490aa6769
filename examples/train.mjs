// @ts-check
// Trains an SAE on activations that a program collected itself: node examples/train.mjs [OUT] [STEPS]
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { Activations, bundled, evaluateSAEs, HookedTransformer, trainSAE } from 'sae-pipe';

const [out = 'runs/example-sae', steps = '300'] = process.argv.slice(2);
const hookName = 'blocks.2.hook_resid_post';
const contextSize = 128;
const wanted = 8192;

// 1. An array of activations, a row per token; BOS is left out. `harvestActivations()` does this at scale, into a store.
const model = await HookedTransformer.fromPretrained(bundled.model);
const lines = createInterface(createReadStream(bundled.trainingText).pipe(createGunzip()));
/** @type {Float32Array[]} */
const rows = [];
for await (const line of lines) {
  const tokens = model.toTokens(JSON.parse(line).text).subarray(0, contextSize);
  const x = (await model.runWithCache(tokens, hookName)).cache.get(hookName);
  for (let i = 1; x && i < x.rows; i++) rows.push(x.row(i));
  if (rows.length >= wanted) break;
}
const width = model.hooks.find(({ name }) => name === hookName)?.width ?? 0;
const data = new Float32Array(rows.length * width);
for (const [i, row] of rows.entries()) data.set(row, i * width);
console.log(`${rows.length} activations of ${hookName}, ${width} wide`);

// 2. Train. Options are the flags of `sae-pipe train`; instead of an array, a store or its directory may be given.
const activations = new Activations(data, width);
const sae = await trainSAE(
  { activations, hookName, model, contextSize },
  { arch: 'batchtopk', k: 16, dSae: 512, batch: 512, steps: Number(steps), lr: 1e-3, out, overwrite: true },
  { log: console.log },
);

// 3. What did it keep? x̂ on the array itself, and the loss of the model on held-out text with x̂ in the place of x.
const { features, reconstruction } = await sae.forward(activations);
const error = data.reduce((sum, value, i) => sum + (value - (reconstruction.data[i] ?? 0)) ** 2, 0);
const firing = features.data.reduce((sum, f) => sum + (f > 0 ? 1 : 0), 0);
console.log(`|x − x̂|² = ${(error / rows.length).toFixed(1)}, L0 = ${(firing / rows.length).toFixed(1)}`);
const [record] = await evaluateSAEs({ sae: out, model: bundled.model, corpus: bundled.validationText, tokens: 2000 });
console.log(`loss recovered: ${((record?.loss_recovered ?? 0) * 100).toFixed(1)} %`);
await sae.close();
await model.close();
