import assert from 'node:assert/strict';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import type { GemmaConfig } from '../../src/lm/families/gemma.js';
import { parseModelConfig } from '../../src/lm/families/registry.js';
import { findHook } from '../../src/lm/hooks.js';
import { floatTensor, type TensorToWrite } from '../../src/safetensors/file.js';
import { temporaryDirectory } from '../temporary.js';
import { parseGemmaConfig } from './gemma-config.js';
import { openRandomModel, writeCheckpoint } from './random-model.js';

const root = temporaryDirectory();
const config = JSON.parse(readFileSync('assets/tiny-gemma/config.json', 'utf8')) as Record<string, unknown>;
let counter = 0;

function copy(): string {
  const directory = join(root, String(counter++));
  cpSync('assets/tiny-gemma', directory, { recursive: true });
  return directory;
}

function refusal(message: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof Refusal, String(error));
    assert.match(error.message, message);
    return true;
  };
}

test('the bundled model opens with the numbers of its config.json', async () => {
  const checkpoint = await openCheckpoint('assets/tiny-gemma');
  assert.equal(checkpoint.name, 'tiny-gemma');
  let parameters = 0;
  for (const { shape } of checkpoint.tensors.values()) parameters += shape.reduce((product, dim) => product * dim, 1);
  assert.equal(parameters, 3_344_064);
  const { layers, hidden, heads, headDim, mlp, vocabulary } = checkpoint.config as GemmaConfig;
  assert.deepEqual([layers, hidden, heads, headDim, mlp, vocabulary], [4, 192, 4, 64, 768, 4096]);
});

test('missing and broken files are refused by name', async () => {
  await assert.rejects(openCheckpoint(join(root, 'nowhere')), refusal(/The model directory .*nowhere does not exist/));
  for (const [file, content, message] of [
    ['config.json', undefined, /config\.json does not exist/],
    ['config.json', '{"model_type": "gemma"', /config\.json is not JSON/],
    ['config.json', '{"model_type": "mamba"}', /of type "mamba"/],
    ['config.json', '{"model_type": "gemma"}', /config\.json: hidden_size/],
    ['model.safetensors', undefined, /has no model\.safetensors/],
    ['model.safetensors', 'short', /not a complete safetensors file: it has 5 bytes/],
    ['model.safetensors', Buffer.alloc(64, 0xff), /its header claims 18446744073709551615 bytes/],
  ] as const) {
    const directory = copy();
    if (content === undefined) rmSync(join(directory, file));
    else writeFileSync(join(directory, file), content);
    await assert.rejects(openCheckpoint(directory), refusal(message));
  }
});

test('a truncated checkpoint is refused, naming the tensor that is cut', async () => {
  const directory = copy();
  const path = join(directory, 'model.safetensors');
  const bytes = readFileSync(path);
  writeFileSync(path, bytes.subarray(0, bytes.length - 1000));
  await assert.rejects(openCheckpoint(directory), refusal(/tensor \S+ ends at byte \d+ of a file of \d+/));
});

test('weights that do not fit config.json are refused, naming the tensor', async () => {
  const wider = copy();
  writeFileSync(join(wider, 'config.json'), JSON.stringify({ ...config, intermediate_size: 769 }));
  await assert.rejects(openCheckpoint(wider), refusal(/mlp\.\w+_proj\.weight has shape/));
  const deeper = copy();
  writeFileSync(join(deeper, 'config.json'), JSON.stringify({ ...config, num_hidden_layers: 5 }));
  await assert.rejects(openCheckpoint(deeper), refusal(/lacks the tensor layers\.4\./));
});

test('settings that would change the result are refused by name', async () => {
  const gemma2 = (await openRandomModel('gemma2-mqa')).config;
  const gemma3 = (await openRandomModel('gemma3-mqa')).config;
  const { rope_parameters: _, ...oldGemma } = config;
  const { rope_parameters: __, ...oldGemma3 } = gemma3;
  for (const [file, key, value] of [
    ...[config, gemma2, gemma3].flatMap((c) => [
      [c, 'attention_bias', true] as const,
      [c, 'mlp_bias', true] as const,
      [c, 'quantization_config', { quant_method: 'bitsandbytes' }] as const,
      [c, 'rope_scaling', { rope_type: 'linear', factor: 2 }] as const, // in addition to rope_parameters: which one counts?
      [c, 'use_bidirectional_attention', true] as const,
      [c, 'hidden_activation', 'relu'] as const,
      [c, 'num_key_value_heads', 3] as const,
    ]),
    [oldGemma, 'rope_scaling', { rope_type: 'dynamic', factor: 2 }],
    [oldGemma, 'rope_scaling', { rope_type: 'linear' }],
    [oldGemma, 'rope_scaling', { rope_type: 'linear', factor: 2, partial_rotary_factor: 0.5 }],
    [oldGemma3, 'rope_scaling', { type: 'yarn', factor: 2 }],
    [config, 'final_logit_softcapping', 30],
    [config, 'sliding_window', 4096],
    [config, 'layer_types', ['sliding_attention', 'full_attention', 'full_attention', 'full_attention']],
    [gemma2, 'hidden_activation', 'gelu'], // in Gemma 1 that is the tanh approximation, here it is not
    [gemma3, 'hidden_activation', 'gelu'],
    [gemma2, 'sliding_window', null],
    [gemma2, 'layer_types', ['full_attention']],
    [gemma2, 'layer_types', Array(5).fill('chunked_attention')],
    [gemma2, 'rope_parameters', { full_attention: { rope_type: 'default' } }],
    [gemma3, 'rope_parameters', { rope_type: 'default', rope_theta: 1e6 }],
    [gemma3, 'attn_logit_softcapping', 50],
    [gemma3, 'final_logit_softcapping', 30],
    [config, 'head_dim', 7],
  ] as [Record<string, unknown>, string, unknown][]) {
    assert.throws(
      () => parseModelConfig({ ...file, [key]: value }, 'config.json'),
      refusal(new RegExp(`sets ${key}(\\.\\w+)? to`)),
      `${key} ${JSON.stringify(value)}`,
    );
  }
  const yarn = { rope_type: 'yarn', rope_theta: 10000 };
  assert.throws(
    () => parseModelConfig({ ...config, rope_parameters: yarn }, 'c'),
    refusal(/sets rope_parameters\.rope_type to "yarn"/),
  );
  const byType = { full_attention: yarn, sliding_attention: { rope_type: 'default' } };
  assert.throws(
    () => parseModelConfig({ ...gemma3, rope_parameters: byType }, 'c'),
    refusal(/sets rope_parameters\.full_attention\.rope_type to "yarn"/),
  );
});

test('what a nested configuration sets is refused at either level', async () => {
  const nested = (await openRandomModel('gemma3-gqa')).config;
  const text = nested.text_config as Record<string, unknown>;
  const quantized = { quantization_config: { quant_method: 'gptq' } };
  const inside = { ...nested, text_config: { ...text, ...quantized } };
  for (const file of [{ ...nested, ...quantized }, inside]) {
    assert.throws(() => parseModelConfig(file, 'c'), refusal(/sets quantization_config to/));
  }
});

test('an unsupported architecture is refused by its name', () => {
  for (const [file, message] of [
    [{ model_type: 'gemma3n' }, /of type "gemma3n", which is not supported/],
    [{ model_type: 'paligemma', text_config: { model_type: 'gemma' } }, /of type "paligemma" around "gemma"/],
    [{ model_type: 'gemma3', text_config: { model_type: 'llama' } }, /of type "gemma3" around "llama"/],
    [{ model_type: 'gemma3' }, /has no text_config/],
    [{ model_type: 'constructor' }, /of type "constructor"/],
    [[], /of type undefined/],
    [null, /of type undefined/],
  ] as const) {
    assert.throws(() => parseModelConfig(file, 'c'), refusal(message));
  }
});

test('a tensor that the architecture does not have is refused, as is a quantised one', async (t) => {
  const gemma = await openRandomModel('gemma-mqa');
  const directory = temporaryDirectory(t);
  const named = (name: string, ...more: TensorToWrite[]) => {
    const rename = (tensor: string) => (tensor === 'model.layers.2.input_layernorm.weight' ? name : tensor);
    return writeCheckpoint(directory, gemma, { rename, more });
  };
  const norm = 'model.layers.2.input_layernorm.weight';
  const extra = (name: string): TensorToWrite => floatTensor(name, [1], Float32Array.of(1));
  await openCheckpoint(await named(norm, extra('model.layers.0.self_attn.rotary_emb.inv_freq'), extra('vision.bias')));
  const bias = 'model.layers.1.self_attn.q_proj.bias';
  await assert.rejects(openCheckpoint(await named(norm, extra(bias))), refusal(/q_proj\.bias.* does not have/));
  const packed = { name: norm, dtype: 'U8', shape: [24], bytes: new Uint8Array(24) } as const;
  await assert.rejects(openCheckpoint(await named('away', packed)), refusal(/input_layernorm\.weight is U8/));
});

test('rope_theta is read in its old and its new spelling', () => {
  const { rope_parameters: _, ...old } = config;
  assert.equal(parseGemmaConfig({ ...old, rope_theta: 5000 }, 'c').attention[0]!.rope.theta, 5000);
  assert.equal(parseGemmaConfig(config, 'c').attention[0]!.rope.theta, 10_000);
});

test('hooks have TransformerLens names and widths; an unknown one lists the nearest', () => {
  const gemma = parseModelConfig(config, 'c');
  assert.equal(gemma.hooks.length, 4 * 15 + 2);
  assert.equal(findHook('blocks.3.attn.hook_z', gemma).width, 256);
  assert.equal(findHook('blocks.0.mlp.hook_post', gemma).width, 768);
  assert.throws(
    () => findHook('blocks.2.hook_resid_pots', gemma),
    (error: unknown) => error instanceof Refusal && /Did you mean blocks\.2\.hook_resid_post\?/.test(error.remedy!),
  );
});

test('impossible numbers and names are refused before anything is allocated', async () => {
  const whole = JSON.parse(readFileSync('assets/tiny-gemma/config.json', 'utf8')) as Record<string, unknown>;
  for (const [change, message] of [
    [{ num_hidden_layers: Number.MAX_SAFE_INTEGER }, /num_hidden_layers/],
    [{ num_hidden_layers: 10 ** 8 }, /num_hidden_layers/],
    [{ model_type: { toString: 1 } }, /of type \{"toString":1\}/],
    [{ model_type: 'toString' }, /of type "toString"/],
  ] as const) {
    const directory = copy();
    writeFileSync(join(directory, 'config.json'), JSON.stringify({ ...whole, ...change }));
    await assert.rejects(openCheckpoint(directory), refusal(message));
  }
  const directory = copy();
  const nested = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
  writeFileSync(join(directory, 'config.json'), `{"model_type": ${nested}}`);
  await assert.rejects(openCheckpoint(directory), refusal(/nested more than 200 levels/));
});
