import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import {
  floatTensor,
  readSafetensorsHeader,
  type TensorToWrite,
  writeSafetensors,
} from '../../src/safetensors/file.js';
import { readAllFloats, readTensorBytes } from '../../src/safetensors/floats.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

function randomTensors(random: Generator): TensorToWrite[] {
  return Array.from({ length: 1 + random.below(5) }, (_, i) => {
    const shape = Array.from({ length: random.below(4) }, () => random.below(6));
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal());
    return floatTensor(`tensor ${i} λ`, shape, values);
  });
}

test('what is written is read back, tensor by tensor, with its metadata', async (t) => {
  const path = join(temporaryDirectory(t), 'w.safetensors');
  for (let seed = 0; seed < 30; seed++) {
    const tensors = randomTensors(new Generator(seed));
    await writeSafetensors(path, tensors, { seed: String(seed), note: 'naïve "quoted"' });
    const found = await readAllFloats(path);
    assert.deepEqual(
      [...found.keys()],
      tensors.map(({ name }) => name),
    );
    for (const { name, shape, bytes } of tensors) {
      assert.deepEqual(found.get(name)!.shape, shape);
      assert.deepEqual(new Uint8Array(found.get(name)!.values.buffer), new Uint8Array(bytes));
    }
    const { metadata } = await readSafetensorsHeader(path);
    assert.deepEqual(metadata, { seed: String(seed), note: 'naïve "quoted"' });
  }
});

test('equal contents make equal bytes, and other contents others', async (t) => {
  const directory = temporaryDirectory(t);
  const write = async (name: string, seed: number) => {
    await writeSafetensors(join(directory, name), randomTensors(new Generator(seed)), { a: '1' });
    return readFileSync(join(directory, name));
  };
  const first = await write('first', 1);
  assert.deepEqual(await write('second', 1), first);
  assert.notDeepEqual(await write('third', 2), first);
  assert.deepEqual(readdirSync(directory).sort(), ['first', 'second', 'third']);
});

test('the layout is the published one: length, JSON padded with spaces to 8 bytes, data in the order given', async (t) => {
  const path = join(temporaryDirectory(t), 'w.safetensors');
  const names = new Set<number>();
  for (const name of ['b', 'bb', 'bbb', 'bbbb', 'bbbbb']) {
    const b = floatTensor(name, [1], Float32Array.of(1));
    const a: TensorToWrite = { name: 'a', dtype: 'U8', shape: [3], bytes: Uint8Array.of(7, 8, 9) };
    await writeSafetensors(path, [b, a]);
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE());
    const header = bytes.subarray(8, 8 + length).toString();
    assert.equal(length % 8, 0);
    assert.match(header, /\} {0,7}$/);
    names.add(header.length - header.trimEnd().length);
    assert.deepEqual(JSON.parse(header), {
      [name]: { dtype: 'F32', shape: [1], data_offsets: [0, 4] },
      a: { dtype: 'U8', shape: [3], data_offsets: [4, 7] },
    });
    assert.deepEqual([...bytes.subarray(8 + length)], [0, 0, 0x80, 0x3f, 7, 8, 9]);
  }
  assert.ok(names.size > 1, 'the padding was never of more than one length');
});

test('without metadata the header has no __metadata__', async (t) => {
  const path = join(temporaryDirectory(t), 'w.safetensors');
  await writeSafetensors(path, [floatTensor('a', [0], new Float32Array(0))]);
  assert.equal(readFileSync(path, 'utf8').includes('__metadata__'), false);
});

test('a file of the Python library, read and written again, is the same file', async (t) => {
  const golden = 'test/golden/train-gated-0.safetensors';
  const { tensors, metadata } = await readSafetensorsHeader(golden);
  const inFileOrder = [...tensors].sort(([, a], [, b]) => a.offset - b.offset);
  const copies: TensorToWrite[] = [];
  for (const [name, location] of inFileOrder) {
    copies.push({ name, dtype: location.dtype, shape: location.shape, bytes: await readTensorBytes(location) });
  }
  const path = join(temporaryDirectory(t), 'again.safetensors');
  await writeSafetensors(path, copies, metadata);
  assert.ok(readFileSync(path).equals(readFileSync(golden)));
});

test('only the view of a larger array is written', async (t) => {
  const path = join(temporaryDirectory(t), 'w.safetensors');
  const row = Float32Array.of(1, 2, 3, 4, 5, 6).subarray(2, 4);
  await writeSafetensors(path, [floatTensor('row', [2], row)]);
  assert.deepEqual([...(await readAllFloats(path)).get('row')!.values], [3, 4]);
});

test('a directory that is missing is refused by name', (t) => {
  const path = join(temporaryDirectory(t), 'gone', 'w.safetensors');
  return refuses(() => writeSafetensors(path, []), 'disk/out-vanished', path);
});
