import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readSafetensorsHeader } from '../../src/safetensors/file.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { rawFile } from './raw-file.js';

const f32 = (begin: number, end: number) => ({ dtype: 'F32', shape: [(end - begin) / 4], data_offsets: [begin, end] });

test('offsets are counted from the start of the file', async (t) => {
  const header = { a: { dtype: 'I64', shape: [1, 2], data_offsets: [0, 16] }, b: f32(16, 20) };
  const path = rawFile(t, header, new Uint8Array(20));
  const { tensors, metadata } = await readSafetensorsHeader(path);
  const start = readFileSync(path).length - 20;
  assert.deepEqual([...tensors.keys()], ['a', 'b']);
  assert.deepEqual(tensors.get('a'), { path, dtype: 'I64', shape: [1, 2], offset: start, length: 16 });
  assert.deepEqual(tensors.get('b'), { path, dtype: 'F32', shape: [1], offset: start + 16, length: 4 });
  assert.deepEqual(metadata, {});
});

test('metadata is a map of strings in addition to the tensors, not a tensor', async (t) => {
  const path = rawFile(t, { __metadata__: { format: 'pt' }, a: f32(0, 4) }, new Uint8Array(4));
  const { tensors, metadata } = await readSafetensorsHeader(path);
  assert.deepEqual(metadata, { format: 'pt' });
  assert.deepEqual([...tensors.keys()], ['a']);
});

test('every element type has its size', async (t) => {
  const sizes = {
    C64: 8,
    F8_E4M3: 1,
    F8_E5M2: 1,
    F8_E8M0: 1,
    F8_E4M3FNUZ: 1,
    F8_E5M2FNUZ: 1,
    F4: 0.5,
    F6_E2M3: 0.75,
    F6_E3M2: 0.75,
    F64: 8,
    F32: 4,
    F16: 2,
    BF16: 2,
    I64: 8,
    I32: 4,
    I16: 2,
    I8: 1,
    U8: 1,
    BOOL: 1,
    U16: 2,
    U32: 4,
    U64: 8,
  };
  for (const [dtype, size] of Object.entries(sizes)) {
    const header = { a: { dtype, shape: [4, 2], data_offsets: [0, 8 * size] } };
    const { tensors } = await readSafetensorsHeader(rawFile(t, header, new Uint8Array(8 * size)));
    assert.equal(tensors.get('a')!.length, 8 * size, dtype);
  }
});

test('a scalar has the shape [] and one element, an empty tensor none', async (t) => {
  const header = {
    scalar: { dtype: 'F32', shape: [], data_offsets: [0, 4] },
    empty: { dtype: 'F32', shape: [3, 0], data_offsets: [4, 4] },
  };
  const { tensors } = await readSafetensorsHeader(rawFile(t, header, new Uint8Array(4)));
  assert.equal(tensors.get('scalar')!.length, 4);
  assert.equal(tensors.get('empty')!.length, 0);
});

test('symbolic links to the file or its directory are resolved', async (t) => {
  const path = rawFile(t, { a: f32(0, 4) }, new Uint8Array(4));
  const directory = temporaryDirectory(t);
  symlinkSync('weights.safetensors', join(path, '..', 'linked.safetensors'));
  symlinkSync(join(path, '..'), join(directory, 'snapshot'));
  for (const link of [join(path, '..', 'linked.safetensors'), join(directory, 'snapshot/weights.safetensors')]) {
    const { tensors } = await readSafetensorsHeader(link);
    assert.equal(tensors.get('a')!.path, path);
  }
});

test('a link is followed wherever it leads, and a pipe behind it refused at once', async (t) => {
  const path = rawFile(t, { a: f32(0, 4) }, new Uint8Array(4));
  const directory = temporaryDirectory(t);
  const link = join(directory, 'linked.safetensors');
  symlinkSync(path, link);
  assert.equal((await readSafetensorsHeader(link)).tensors.get('a')!.path, path);
  execFileSync('mkfifo', [join(directory, 'pipe')]);
  for (const [i, target] of ['pipe', '/dev/zero'].entries()) {
    symlinkSync(target, join(directory, `odd${i}.safetensors`));
    await refuses(() => readSafetensorsHeader(join(directory, `odd${i}.safetensors`)), 'disk/not-a-file');
  }
});

test('a header that is not UTF-8, or nested without end, is refused', async (t) => {
  const path = rawFile(t, { a: f32(0, 4) }, new Uint8Array(4));
  const bytes = readFileSync(path);
  bytes[10] = 0xff;
  writeFileSync(path, bytes);
  await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, 'not UTF-8');
  const nested = rawFile(t, `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`);
  await refuses(() => readSafetensorsHeader(nested), 'safetensors/broken', nested, 'not a JSON object');
});

test('a property name that every object has is not an element type', async (t) => {
  for (const dtype of ['toString', 'constructor', '__proto__']) {
    const path = rawFile(t, { a: { dtype, shape: [1], data_offsets: [0, 4] } }, new Uint8Array(4));
    await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, `unknown element type ${dtype}`);
  }
});

test('the files that the Python library wrote are read as they are', async () => {
  const { tensors } = await readSafetensorsHeader('test/golden/tiny-gemma.safetensors');
  assert.deepEqual(tensors.get('tokens')!.shape, [20, 256]);
  assert.equal(tensors.get('tokens')!.dtype, 'I32');
  assert.deepEqual(tensors.get('nll')!.shape, [20, 255]);
  assert.equal(tensors.get('mean_nll')!.dtype, 'F64');
});

test('a missing file is refused by name', async (t) => {
  const path = join(temporaryDirectory(t), 'gone.safetensors');
  await refuses(() => readSafetensorsHeader(path), 'safetensors/no-file', path);
});

test('a directory in the place of the file is refused by name', async (t) => {
  const path = join(temporaryDirectory(t), 'model.safetensors');
  mkdirSync(path);
  await refuses(() => readSafetensorsHeader(path), 'disk/not-a-file', path);
});

test('a file shorter than the header length is refused', async (t) => {
  const path = join(temporaryDirectory(t), 'short.safetensors');
  for (const size of [0, 7]) {
    writeFileSync(path, new Uint8Array(size));
    await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, `${size} bytes`);
  }
});

test('a header longer than the file is refused, up to the largest length there is', async (t) => {
  const path = join(temporaryDirectory(t), 'weights.safetensors');
  for (const claim of [3n, 2n ** 32n, 2n ** 64n - 1n]) {
    const bytes = Buffer.alloc(10, '{}');
    bytes.writeBigUInt64LE(claim);
    writeFileSync(path, bytes);
    await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, `claims ${claim} bytes of 2`);
  }
});

test('a header that is not a JSON object is refused', async (t) => {
  for (const header of ['{"a": ', 'null', '[]', '3', '']) {
    const path = rawFile(t, header);
    await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, 'not a JSON object');
  }
});

test('metadata other than a map of strings is refused', async (t) => {
  for (const metadata of [3, ['x'], { step: 7 }]) {
    const path = rawFile(t, { __metadata__: metadata });
    await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, '__metadata__');
  }
});

test('a malformed entry is refused, naming file and tensor', async (t) => {
  const good = { dtype: 'F32', shape: [1], data_offsets: [0, 4] };
  const bad: unknown[] = [
    null,
    7,
    {},
    { ...good, dtype: undefined },
    { ...good, shape: 'x' },
    { ...good, shape: [-1] },
    { ...good, shape: [0.5] },
    { ...good, data_offsets: [0] },
    { ...good, data_offsets: [0, 4, 8] },
    { ...good, data_offsets: [-4, 0] },
  ];
  for (const entry of bad) {
    const path = rawFile(t, { W_enc: entry }, new Uint8Array(4));
    await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, 'tensor W_enc', 'malformed');
  }
});

test('an unknown element type is refused, naming file, tensor and type', async (t) => {
  for (const dtype of ['F7', 'f32', '']) {
    const path = rawFile(t, { W_enc: { ...f32(0, 4), dtype } }, new Uint8Array(4));
    await refuses(
      () => readSafetensorsHeader(path),
      'safetensors/broken',
      path,
      'tensor W_enc',
      `unknown element type ${dtype}`,
    );
  }
});

test('a span that is not what the shape needs is refused, naming file, tensor and both sizes', async (t) => {
  const path = rawFile(t, { W_enc: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 20] } }, new Uint8Array(24));
  await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, 'tensor W_enc', '20 bytes', 'needs 24');
  const wide = rawFile(t, { W_enc: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 28] } }, new Uint8Array(28));
  await refuses(() => readSafetensorsHeader(wide), 'safetensors/broken', wide, 'tensor W_enc', '28 bytes', 'needs 24');
  const backwards = rawFile(t, { W_enc: { dtype: 'F32', shape: [1], data_offsets: [8, 4] } }, new Uint8Array(8));
  await refuses(() => readSafetensorsHeader(backwards), 'safetensors/broken', 'tensor W_enc');
});

test('a tensor that ends after the file does is refused, naming file and tensor', async (t) => {
  const path = rawFile(t, { a: f32(0, 4), W_enc: f32(4, 12) }, new Uint8Array(11));
  const size = readFileSync(path).length;
  await refuses(
    () => readSafetensorsHeader(path),
    'safetensors/broken',
    path,
    'tensor W_enc',
    `byte ${size + 1} of a file of ${size}`,
  );
});

test('tensors that overlap are refused, naming file and both', async (t) => {
  for (const [a, b] of [
    [f32(0, 8), f32(4, 12)],
    [f32(4, 12), f32(0, 8)],
    [f32(0, 8), f32(0, 8)],
    [f32(0, 12), f32(4, 8)],
  ]) {
    const path = rawFile(t, { W_enc: a, W_dec: b, tail: f32(12, 16) }, new Uint8Array(16));
    await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, 'W_enc', 'W_dec', 'overlap');
  }
});

test('an empty tensor overlaps nothing, wherever the header lists it', async (t) => {
  const empty = { dtype: 'F32', shape: [0], data_offsets: [0, 0] };
  for (const header of [
    { empty, full: f32(0, 8) },
    { full: f32(0, 8), empty },
  ]) {
    const { tensors } = await readSafetensorsHeader(rawFile(t, header, new Uint8Array(8)));
    assert.equal(tensors.size, 2);
  }
});

test('elements that do not fill their last byte are refused, and shapes beyond every file', async (t) => {
  const entry = (dtype: string, shape: number[], end: number) => ({ a: { dtype, shape, data_offsets: [0, end] } });
  for (const header of [entry('F4', [3], 2), entry('F6_E2M3', [2], 2), entry('F32', [2 ** 40, 2 ** 40], 4)]) {
    const path = rawFile(t, header, new Uint8Array(header.a.data_offsets[1]!));
    await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, 'tensor a', 'whole number of bytes');
  }
});

test("bytes that belong to no tensor are refused, as by Hugging Face's reader", async (t) => {
  for (const [header, bytes, said] of [
    [{ a: f32(0, 4), b: f32(8, 12) }, 12, 'between a and tensor b'],
    [{ a: f32(4, 8) }, 8, 'between the header and tensor a'],
    [{ a: f32(0, 4) }, 5, '1 bytes follow'],
    [{}, 3, '3 bytes follow'],
  ] as const) {
    const path = rawFile(t, header, new Uint8Array(bytes));
    await refuses(() => readSafetensorsHeader(path), 'safetensors/broken', path, said);
  }
  assert.equal((await readSafetensorsHeader(rawFile(t, {}))).tensors.size, 0);
});

test('a header of a million tensors is refused before it is read', async (t) => {
  const path = join(temporaryDirectory(t), 'many.safetensors');
  const claims = [2 ** 22 + 1, 2 ** 40];
  for (const claim of claims) {
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(claim));
    writeFileSync(path, prefix);
    // Sparse: as large as its header says, and on disk it takes a block.
    truncateSync(path, claim + 8);
    await refuses(() => readSafetensorsHeader(path), 'safetensors/header-too-large', path, '4.0 MiB');
  }
});
