import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parametersOf, writeRandomCheckpoint } from '../../bench/random-checkpoint.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { readFloats } from '../../src/safetensors/floats.js';
import { temporaryDirectory } from '../temporary.js';

test('the random model of the size of Gemma 7B has as many weights as Gemma 7B', () => {
  assert.equal(parametersOf('7b'), 8_537_680_896);
});

test('the small random checkpoint opens, in several shards, with normal weights of the intended deviation', async () => {
  const directory = temporaryDirectory();
  await writeRandomCheckpoint(directory, 'small');
  const shards = readdirSync(directory).filter((name) => name.endsWith('.safetensors'));
  assert.ok(shards.length > 1, shards.join());
  const checkpoint = await openCheckpoint(directory);
  const bytes = [...checkpoint.tensors.values()].reduce((sum, { length }) => sum + length, 0);
  assert.equal(bytes, 2 * parametersOf('small'));
  const index = JSON.parse(readFileSync(join(directory, 'model.safetensors.index.json'), 'utf8'));
  assert.equal(index.metadata.total_size, bytes);
  const onDisk = shards.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  assert.ok(onDisk > bytes && onDisk < bytes + 50_000, `${onDisk} bytes for ${bytes} of weights`);

  const values = await readFloats(checkpoint.tensors.get('layers.3.mlp.down_proj.weight')!);
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
  // 2¹⁸ draws: the mean's own deviation is 1/512 of theirs, that of their deviation 1/724.
  assert.ok(Math.abs(mean) < 6 * (deviation / 512), `${mean}`);
  assert.ok(Math.abs(deviation * 16 - 1) < 6 / 724, `${deviation}`);
  // No two matrices are the same piece of the pool.
  const other = await readFloats(checkpoint.tensors.get('layers.2.mlp.down_proj.weight')!);
  assert.notDeepEqual(values.subarray(0, 1000), other.subarray(0, 1000));
});

test('the same seed gives the same weights, another seed others', async () => {
  const fingerprint = async (seed: number) => {
    const directory = join(temporaryDirectory(), 'model');
    await writeRandomCheckpoint(directory, 'small', seed);
    return (await openCheckpoint(directory)).fingerprint;
  };
  assert.equal(await fingerprint(0), await fingerprint(0));
  assert.notEqual(await fingerprint(0), await fingerprint(1));
});
