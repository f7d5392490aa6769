import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { parseModelConfig } from '../../src/lm/families/registry.js';
import { readPthTensors } from '../../src/safetensors/pth.js';
import { refusalOf } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { matches } from './matches.js';
import { openRandomModel } from './random-model.js';

const root = temporaryDirectory();

for (const name of ['gelu-1l', 'gelu-2l'] as const) {
  test(`${name}: losses and all hooks equal transformers within 1e-4`, async () => {
    const model = await openRandomModel(name);
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'config.json'), JSON.stringify(model.config));
    copyFileSync(`test/golden/${name}.pth`, join(directory, 'model_final.pth'));
    const checkpoint = await openCheckpoint(directory);
    assert.equal(checkpoint.config.bos, 'always');
    await matches(checkpoint, model);
    await matches(checkpoint, model, { placement: { device: 'webgpu', precision: 'float32' } });
    // Of several files, the last is meant where it says so.
    copyFileSync(`test/golden/${name}.pth`, join(directory, 'model_100.pth'));
    assert.equal((await openCheckpoint(directory)).fingerprint, checkpoint.fingerprint);
    copyFileSync(`test/golden/${name}.pth`, join(directory, 'other_final.pth'));
    await refusalOf(() => openCheckpoint(directory), Refusal, 'lm/no-weights');
  });
}

test('settings that would change the result are refused by name', async () => {
  const { config } = await openRandomModel('gelu-1l');
  for (const [key, value] of [
    ['act_fn', 'solu_ln'],
    ['normalization', 'LNPre'],
    ['normalization', null],
    ['attn_only', true],
    ['shortformer_pos', true],
  ] as const) {
    const json = { ...config, [key]: value };
    const { message } = await refusalOf(() => parseModelConfig(json, 'c'), Refusal, 'lm/unsupported-setting');
    assert.ok(message.includes(key), message);
  }
});

/** The golden file with bytes of its pickle replaced by as many others. */
function changed(from: string, to: string): string {
  const bytes = readFileSync('test/golden/gelu-2l.pth');
  const at = bytes.indexOf(Buffer.from(from, 'latin1'));
  assert.ok(at > 0 && from.length === to.length, from);
  bytes.write(to, at, 'latin1');
  const path = join(root, 'changed.pth');
  writeFileSync(path, bytes);
  return path;
}

test('a pickle that would call anything else is refused by name, and nothing is called', async () => {
  for (const [from, to, named] of [
    ['ctorch._utils\n_rebuild_tensor_v2\n', 'cposix.......\nsystem............\n', 'posix.......system'],
    ['ctorch\nHalfStorage\n', 'ctorch\nHalfStorags\n', 'torch.HalfStorags'],
    ['ctorch\nHalfStorage\n', 'ctorch\nQIntStorage\n', 'QIntStorage'],
    // Opcode i, INST, which would make an instance of a class.
    ['ctorch\nHalfStorage\n', 'itorch\nHalfStorage\n', '0x69'],
  ] as const) {
    const path = changed(from, to);
    const { message } = await refusalOf(() => readPthTensors(path), Refusal, 'safetensors/unsupported-pth');
    assert.ok(message.replace(/\.{3,}/g, '.......').includes(named.replace(/\.{3,}/g, '.......')), message);
  }
});

test('damaged and cut files are refused at every length', async () => {
  const whole = readFileSync('test/golden/gelu-2l.pth');
  const path = join(root, 'cut.pth');
  for (let length = 0; length < whole.length; length += 997) {
    writeFileSync(path, whole.subarray(0, length));
    await refusalOf(() => readPthTensors(path), Refusal, ['safetensors/broken-pth', 'safetensors/unsupported-pth']);
  }
  // Every byte of the pickle in turn is another one: read as something, or refused, and never anything else.
  const pickle = whole.indexOf(Buffer.from([0x80, 0x02, 0x7d]));
  assert.ok(pickle > 0);
  for (let at = pickle; at < pickle + 600; at += 7) {
    const bytes = Buffer.from(whole);
    bytes[at]! ^= 0x15;
    writeFileSync(path, bytes);
    try {
      await readPthTensors(path);
    } catch (error) {
      assert.ok(error instanceof Refusal, String((error as Error).stack));
    }
  }
});
