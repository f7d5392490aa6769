import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { exportSchema } from '../../src/config/stages/saes.js';
import { Generator } from '../../src/random/generator.js';
import { exportSae } from '../../src/sae/export.js';
import { parametersOf } from '../../src/sae/registry.js';
import { type ArchitectureName, type Parameters, parameterShape, type Sae } from '../../src/sae/sae.js';
import { saveSae } from '../../src/sae/saelens.js';
import { readSafetensorsHeader } from '../../src/safetensors/file.js';
import { readFloats } from '../../src/safetensors/floats.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const root = temporaryDirectory();
const [D, D_SAE] = [6, 11];
let counter = 0;

function transcoder(architecture: ArchitectureName, more: Partial<Pick<Sae, 'skip' | 'dOut' | 'dSae'>> = {}): Sae {
  const random = new Generator(counter);
  const sizes = { dIn: D, dOut: more.dOut ?? D, dSae: more.dSae ?? D_SAE };
  const parameters: Parameters = {};
  for (const name of parametersOf({ architecture, skip: more.skip })) {
    const size = parameterShape(name, sizes).reduce((product, dim) => product * dim, 1);
    parameters[name] = Float32Array.from({ length: size }, () => random.normal());
  }
  const forward = {
    apply_b_dec_to_input: false,
    normalize_activations: 'none',
    ...(architecture === 'topk' && { k: 3 }),
  };
  return { architecture, transcoder: true, ...(more.skip && { skip: true }), ...sizes, forward, parameters } as Sae;
}

/** A directory with a transcoder per block, by the number of the block. */
async function set(layers: Readonly<Record<string, Sae>>, site = 'ln2.hook_normalized'): Promise<string> {
  const directory = join(root, String(counter++));
  for (const [layer, sae] of Object.entries(layers)) {
    const path = join(directory, `block-${layer}`);
    mkdirSync(path, { recursive: true });
    const hooks = { hook_name: `blocks.${layer}.${site}`, hook_name_out: `blocks.${layer}.hook_mlp_out` };
    await saveSae(path, sae, { model_name: 'google/gemma-2-2b', ...hooks });
  }
  return directory;
}

const exported = (sae: string, out = join(root, `out-${counter++}`)) =>
  exportSae(exportSchema.parse({ sae, as: 'circuit-tracer', out }));

async function tensorsOf(path: string): Promise<Record<string, readonly [shape: string, Float32Array]>> {
  const { tensors } = await readSafetensorsHeader(path);
  const entries = [...tensors].map(async ([name, at]) => [name, [at.shape.join(), await readFloats(at)]] as const);
  return Object.fromEntries(await Promise.all(entries));
}

test('a set of transcoders has the files, names and layouts that circuit-tracer loads', async () => {
  const saes = [transcoder('standard', { skip: true }), transcoder('jumprelu', { skip: true })];
  saes[1]!.parameters.threshold![0] = -1;
  const out = await exported(await set({ 0: saes[0]!, 1: saes[1]! }));
  assert.deepEqual(readdirSync(out).sort(), ['config.yaml', 'layer_0.safetensors', 'layer_1.safetensors']);
  const lines = readFileSync(join(out, 'config.yaml'), 'utf8').split('\n');
  for (const line of [
    'model_name: "google/gemma-2-2b"',
    'model_kind: transcoder_set',
    'feature_input_hook: "ln2.hook_normalized"',
    'feature_output_hook: "hook_mlp_out"',
  ]) {
    assert.ok(lines.includes(line), line);
  }
  for (const [layer, { parameters: w }] of saes.entries()) {
    const found = await tensorsOf(join(out, `layer_${layer}.safetensors`));
    const shapes = Object.fromEntries(Object.entries(found).map(([name, [shape]]) => [name, shape]));
    assert.deepEqual(shapes, {
      ...{ W_enc: '11,6', W_dec: '11,6', b_enc: '11', b_dec: '6', W_skip: '6,6' },
      ...(layer === 1 && { 'activation_function.threshold': '11' }),
    });
    assert.equal(found.W_enc![1][4 * D + 2], w.W_enc![2 * D_SAE + 4]);
    for (const name of ['W_dec', 'b_enc', 'b_dec', 'W_skip'] as const) assert.deepEqual(found[name]![1], w[name]);
    if (layer === 0) continue;
    const threshold = found['activation_function.threshold']![1];
    assert.equal(threshold[0], 0);
    assert.equal(threshold[1], Math.max(0, w.threshold![1]!));
  }
});

test('a gated transcoder is written as the jumprelu one that it equals', async () => {
  const out = await exported(await set({ 0: transcoder('gated') }));
  const found = await tensorsOf(join(out, 'layer_0.safetensors'));
  assert.ok('activation_function.threshold' in found && !('W_skip' in found) && !('b_gate' in found));
});

test('what circuit-tracer cannot load is refused, and nothing is written', async () => {
  const standard = () => transcoder('standard');
  const cases = [
    [await set({ 1: standard() }), 'sae/transcoder-set'],
    [await set({ 0: standard(), 2: standard() }), 'sae/transcoder-set'],
    [await set({ 0: standard(), 1: transcoder('standard', { dSae: 12 }) }), 'sae/transcoder-set'],
    [await set({ 0: transcoder('standard', { dOut: 7 }) }), 'sae/transcoder-set'],
    [await set({ 0: transcoder('topk') }), 'sae/not-convertible'],
    [await set({}), 'sae/transcoder-set'],
  ] as const;
  for (const [directory, code] of cases) {
    const out = join(root, `out-${counter++}`);
    await refuses(() => exported(directory, out), code);
    assert.ok(!existsSync(join(out, 'config.yaml')), code);
  }
});
