import assert from 'node:assert/strict';
import { closeSync, cpSync, openSync, readFileSync, truncateSync, utimesSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { floatTensor, readSafetensorsHeader, type TensorLocation } from '../../src/safetensors/file.js';
import { compareFingerprints, fingerprint } from '../../src/safetensors/fingerprint.js';
import { refuses } from '../config/refuses.js';
import { openRandomModel, writeCheckpoint } from '../lm/random-model.js';
import { temporaryDirectory } from '../temporary.js';

const root = temporaryDirectory();
const model = await openRandomModel('gemma2-mqa');
const directory = await writeCheckpoint(join(root, 'model'), model);
const { tensors, fingerprint: original } = await openCheckpoint(directory);
let counter = 0;

/** A copy of the model with bytes of its file written over. */
function edited(edit: (bytes: Buffer) => void): string {
  const copy = join(root, `copy-${counter++}`);
  cpSync(directory, copy, { recursive: true });
  const bytes = readFileSync(join(copy, 'model.safetensors'));
  edit(bytes);
  writeFileSync(join(copy, 'model.safetensors'), bytes);
  return copy;
}

test('one number of any tensor makes another model, and so does a tensor of zeros', async () => {
  for (const [name, { offset, length }] of tensors) {
    const at = offset + 4 * Math.floor(length / 8);
    const one = edited((bytes) => bytes.writeFloatLE(bytes.readFloatLE(at) + 1, at));
    const zeros = edited((bytes) => bytes.fill(0, offset, offset + length));
    for (const copy of [one, zeros]) {
      assert.equal(compareFingerprints((await openCheckpoint(copy)).fingerprint, original), 'different', name);
    }
  }
});

test('what of config.json changes the result makes another model, and nothing else does', async () => {
  const with_ = async (more: object) =>
    (
      await openCheckpoint(
        await writeCheckpoint(join(root, `c${counter++}`), model, { config: { ...model.config, ...more } }),
      )
    ).fingerprint;
  for (const more of [
    { rms_norm_eps: 1e-5 },
    { rope_parameters: { rope_type: 'default', rope_theta: 1234 } },
    { final_logit_softcapping: 7 },
    { bos_token_id: 3 },
  ]) {
    assert.equal(compareFingerprints(await with_(more), original), 'different', JSON.stringify(more));
  }
  assert.equal(await with_({ max_position_embeddings: 77, transformers_version: '0' }), original);
});

test('where a model is, in how many files, and next to what, changes nothing', async () => {
  const shards = await writeCheckpoint(join(root, 'shards'), model, { shards: 3 });
  const tower = floatTensor('vision_tower.x', [2], Float32Array.of(1, 2));
  const more = await writeCheckpoint(join(root, 'more'), model, { more: [tower] });
  for (const copy of [shards, more, edited(() => {})]) assert.equal((await openCheckpoint(copy)).fingerprint, original);
});

test('zeros over a mebibyte of a large tensor are seen, wherever they are', async () => {
  // Sparse: 64 MiB on paper.
  const [path, length] = [join(root, 'large'), 2 ** 26 + 12];
  writeFileSync(path, '');
  truncateSync(path, length);
  const location: TensorLocation = { path, dtype: 'U8', shape: [length], offset: 0, length };
  const of = () => fingerprint('', new Map([['x', location]]));
  const before = await of();
  const region = Buffer.alloc(2 ** 20 + 4096, 1);
  for (const at of [0, 5_000_001, 40_000_000, length - region.length]) {
    const file = openSync(path, 'r+');
    writeSync(file, region, 0, region.length, at);
    assert.notEqual(await of(), before, `${at}`);
    writeSync(file, Buffer.alloc(region.length), 0, region.length, at);
    assert.equal(await of(), before);
    // The last bytes of all.
    writeSync(file, region, 0, 1, length - 1);
    assert.notEqual(await of(), before);
    writeSync(file, Buffer.alloc(1), 0, 1, length - 1);
    closeSync(file);
  }
});

test('fingerprints of different versions do not compare two models', () => {
  assert.equal(compareFingerprints('2:ab', '2:ab'), 'same');
  assert.equal(compareFingerprints('2:ab', '2:cd'), 'different');
  assert.equal(compareFingerprints('ab', 'cd'), 'different');
  for (const old of ['ab', '1:ab', '3:ab']) assert.equal(compareFingerprints(old, '2:ab'), 'incomparable');
  assert.match(original, /^2:[0-9a-f]{64}$/);
});

test('a model that is replaced while it is in use is refused; one that is touched, or comes back, is not', async () => {
  const copy = edited(() => {});
  const [path, checkpoint] = [join(copy, 'model.safetensors'), await openCheckpoint(copy)];
  const whole = readFileSync(path);
  utimesSync(path, 1, 1);
  await checkpoint.checkUnchanged();
  const norm = (await readSafetensorsHeader(path)).tensors.get('model.norm.weight')!;
  const other = Buffer.from(whole);
  other[norm.offset]! ^= 1;
  writeFileSync(path, other);
  await refuses(() => checkpoint.checkUnchanged(), 'disk/changed-in-use', copy);
  writeFileSync(path, whole);
  await checkpoint.checkUnchanged();
  writeFileSync(join(copy, 'config.json'), '{}');
  await refuses(() => checkpoint.checkUnchanged(), 'disk/changed-in-use', copy);
});
