import assert from 'node:assert/strict';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/config/refusal.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { parseGemmaConfig } from '../../src/lm/gemma-config.js';
import { allHooks, findHook } from '../../src/lm/hooks.js';
import { temporaryDirectory } from '../temporary.js';

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
  const { layers, hidden, heads, headDim, mlp, vocabulary } = checkpoint.config;
  assert.deepEqual([layers, hidden, heads, headDim, mlp, vocabulary], [4, 192, 4, 64, 768, 4096]);
});

test('missing and broken files are refused by name', async () => {
  await assert.rejects(openCheckpoint(join(root, 'nowhere')), refusal(/There is no model directory .*nowhere/));
  for (const [file, content, message] of [
    ['config.json', undefined, /There is no file .*config\.json/],
    ['config.json', '{"model_type": "gemma"', /config\.json is not JSON/],
    ['config.json', '{"model_type": "llama"}', /of type "llama"/],
    ['config.json', '{"model_type": "gemma"}', /config\.json: hidden_size/],
    ['model.safetensors', undefined, /has no model\.safetensors/],
    ['model.safetensors', 'short', /not a whole safetensors file: it has 5 bytes/],
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

test('settings that would change the result are refused by name', () => {
  for (const [key, value] of [
    ['attention_bias', true],
    ['quantization_config', { bits: 4 }],
    ['rope_scaling', { type: 'linear', factor: 2 }],
    ['use_bidirectional_attention', true],
    ['hidden_activation', 'relu'],
    ['num_key_value_heads', 3],
  ] as const) {
    assert.throws(
      () => parseGemmaConfig({ ...config, [key]: value }, 'config.json'),
      refusal(new RegExp(`sets ${key} to`)),
    );
  }
  const rope = { rope_parameters: { rope_type: 'yarn', rope_theta: 10000 } };
  assert.throws(
    () => parseGemmaConfig({ ...config, ...rope }, 'c'),
    refusal(/sets rope_parameters\.rope_type to "yarn"/),
  );
});

test('rope_theta is read in its old and its new spelling', () => {
  const { rope_parameters: _, ...old } = config;
  assert.equal(parseGemmaConfig({ ...old, rope_theta: 5000 }, 'c').attention[0]!.rope.theta, 5000);
  assert.equal(parseGemmaConfig(config, 'c').attention[0]!.rope.theta, 10_000);
});

test('hooks have TransformerLens names and widths; an unknown one lists the nearest', () => {
  const gemma = parseGemmaConfig(config, 'c');
  assert.equal(allHooks(gemma).length, 4 * 9);
  assert.equal(findHook('blocks.3.attn.hook_z', gemma).width, 256);
  assert.equal(findHook('blocks.0.mlp.hook_post', gemma).width, 768);
  assert.throws(
    () => findHook('blocks.2.hook_resid_pots', gemma),
    (error: unknown) => error instanceof Refusal && /Nearest: blocks\.2\.hook_resid_post/.test(error.remedy!),
  );
});
