import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSpliceIn } from '../../src/eval/splice-in.js';
import { openForwardPass } from '../../src/harvest/forward-pass.js';
import { type Checkpoint, openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import type { Precision } from '../../src/lm/placement.js';
import { type ArchitectureName, architectures } from '../../src/sae/sae.js';
import { openSae, type SaeFiles, saveSae } from '../../src/sae/saelens.js';
import { halfToFloat } from '../../src/safetensors/floats.js';
import { refuses } from '../config/refuses.js';
import { relativeDifference } from '../golden.js';
import { openRandomModel, RANDOM_MODELS, writeCheckpoint } from '../lm/random-model.js';
import { randomSae } from '../sae/random-sae.js';
import { temporaryDirectory } from '../temporary.js';
import { noWebGpu } from './software-vulkan.js';

// Harvest and evaluation by WebGPU and by the CPU, from one checkpoint. `SAE_PIPE_LONG=1 node --test dist/test/webgpu/`
// takes every family, element type of the weights and architecture; the usual form one whose embedding is its
// unembedding, too.
const LONG = process.env.SAE_PIPE_LONG === '1';
const skip = await noWebGpu();
const root = temporaryDirectory();
/** Left out of no context. */
const NO_TOKEN = -1;
const ALL = Number.POSITIVE_INFINITY;
/** Of the largest entry: sums in another order. The sharp attention of neox-parallel multiplies it. */
const ROUNDING = 3e-4;

const MODELS = LONG ? ([...RANDOM_MODELS, 'gelu-1l', 'gelu-2l'] as const) : (['gemma-mqa'] as const);
const DTYPES = LONG ? (['F32', 'BF16', 'F16'] as const) : (['F32'] as const);
type Opened = Awaited<ReturnType<typeof opened>>;

async function opened(name: (typeof MODELS)[number], dtype: (typeof DTYPES)[number]) {
  const { tokens, context: whole, ...model } = await openRandomModel(name);
  const directory = await writeCheckpoint(join(root, name, dtype), { ...model }, { dtype });
  const context = LONG ? whole : Math.min(16, whole);
  const contexts = [0, 1].map((index) => ({
    index,
    tokens: tokens.slice(index * whole, index * whole + context),
    documents: new Uint32Array(context),
  }));
  return { checkpoint: await openCheckpoint(directory), context, contexts };
}

async function harvested({ checkpoint, context, contexts }: Opened, device: string, store: Store) {
  const { hooks } = checkpoint.config;
  const pass = await openForwardPass(checkpoint, hooks, context, { ...store, device, threads: 1 });
  try {
    const { rows, norms } = await pass.run(contexts, NO_TOKEN, ALL);
    return { rows: rows.map(({ activation }) => activation), norms };
  } finally {
    await pass.release();
  }
}

interface Store {
  readonly precision: Precision;
  readonly dtype: Precision;
}

/** Rows as numbers. */
function floats(rows: Float32Array | Uint16Array, dtype: Precision): Float32Array {
  if (rows instanceof Float32Array) return rows;
  if (dtype === 'float16') return Float32Array.from(rows, halfToFloat);
  return new Float32Array(Uint32Array.from(rows, (bits) => bits << 16).buffer);
}

async function harvestsAgree(model: Opened, store: Store): Promise<void> {
  const [cpu, gpu] = [await harvested(model, 'cpu', store), await harvested(model, 'webgpu', store)];
  const tolerance = store.precision === 'float16' ? 6e-2 : store.dtype === 'float32' ? ROUNDING : 2 ** -7;
  for (const [i, { name }] of model.checkpoint.config.hooks.entries()) {
    const difference = relativeDifference(floats(gpu.rows[i]!, store.dtype), floats(cpu.rows[i]!, store.dtype));
    assert.ok(difference < tolerance, `${name}, ${store.precision} into ${store.dtype}: ${difference}`);
    assert.ok(relativeDifference(gpu.norms[i]!, cpu.norms[i]!) < tolerance, `|x| of ${name}`);
  }
}

async function saesOf(names: readonly ArchitectureName[], width: number, hook: string): Promise<SaeFiles[]> {
  return Promise.all(
    names.map(async (architecture) => {
      const directory = join(root, `${architecture}-${width}`);
      mkdirSync(directory, { recursive: true });
      await saveSae(directory, randomSae(architecture, width, 40, 3), { hook_name: hook, context_size: 16 });
      return openSae(directory);
    }),
  );
}

async function evaluated({ checkpoint, context, contexts }: Opened, device: string, saes: readonly SaeFiles[]) {
  const hook = findHook(siteOf(checkpoint), checkpoint.config);
  const options = { device, precision: 'float32', threads: 1, meanAblation: true } as const;
  const spliceIn = await openSpliceIn(checkpoint, hook, saes, context, options);
  try {
    await spliceIn.addToMean(contexts, NO_TOKEN, ALL);
    await spliceIn.add(contexts, NO_TOKEN, ALL);
    return spliceIn.metrics();
  } finally {
    await spliceIn.release();
  }
}

const siteOf = ({ config: { hooks } }: Checkpoint) => hooks.findLast(({ site }) => site === 'hook_resid_post')!.name;

for (const name of MODELS) {
  for (const dtype of DTYPES.filter((one) => one !== 'F16')) {
    test(`${name} with ${dtype} weights: harvest on WebGPU gives the CPU's activations`, { skip }, async () => {
      const model = await opened(name, dtype);
      await harvestsAgree(model, { precision: 'float32', dtype: 'float32' });
      if (LONG) await harvestsAgree(model, { precision: 'float32', dtype: 'bfloat16' });
    });
  }

  test(`${name}: an evaluation on WebGPU has the CPU's metrics`, { skip }, async () => {
    const model = await opened(name, 'F32');
    const hook = findHook(siteOf(model.checkpoint), model.checkpoint.config);
    const saes = await saesOf(LONG ? architectures : ['gated'], hook.width, hook.name);
    const [cpu, gpu] = [await evaluated(model, 'cpu', saes), await evaluated(model, 'webgpu', saes)];
    for (const [k, { architecture }] of saes.entries()) {
      for (const metric of ['ce_clean', 'ce_zero', 'ce_spliced', 'kl', 'l0', 'mse', 'explained_variance'] as const) {
        const [found, expected] = [gpu[k]![metric], cpu[k]![metric]];
        // Of a feature on the edge, one device may say that it fires.
        const tolerance = metric === 'l0' ? 1e-2 : 1e-3;
        assert.ok(
          Math.abs(found - expected) <= tolerance * Math.max(1, Math.abs(expected)),
          `${architecture}, ${metric}: ${found}, not ${expected}`,
        );
      }
    }
  });
}

test('what needs float16 is computed as on the CPU, or refused where the GPU has none', { skip }, async () => {
  const float32 = { precision: 'float32', dtype: 'float32' } as const;
  const cases: [(typeof DTYPES)[number], Store][] = [['F32', { ...float32, precision: 'float16' }]];
  if (LONG) cases.push(['F32', { ...float32, dtype: 'float16' }], ['F16', float32]);
  for (const [weights, store] of cases) {
    const model = await opened('gemma-mqa', weights);
    const outcome = await harvestsAgree(model, store).catch((error: { code?: string }) => error);
    if (outcome instanceof assert.AssertionError) throw outcome;
    if (outcome !== undefined) await refuses(() => harvested(model, 'webgpu', store), 'onnx/no-float16', '--precision');
  }
});
