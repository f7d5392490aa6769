import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { readSafetensorsHeader, type SafetensorsDType } from '../../src/safetensors/file.js';
import { halfToFloat, readAllFloats, readFloats, readTensorBytes } from '../../src/safetensors/floats.js';
import { refuses } from '../config/refuses.js';
import { rawFile } from './raw-file.js';

async function floatsOf(t: Parameters<typeof rawFile>[0], dtype: SafetensorsDType, bytes: Uint8Array, size: number) {
  // One byte before the tensor, so that it lies at no multiple of its element size.
  const header = {
    odd: { dtype: 'U8', shape: [1], data_offsets: [0, 1] },
    x: { dtype, shape: [bytes.length / size], data_offsets: [1, 1 + bytes.length] },
  };
  const { tensors } = await readSafetensorsHeader(rawFile(t, header, Buffer.concat([Uint8Array.of(9), bytes])));
  return readFloats(tensors.get('x')!);
}

test('half-precision patterns have their known values', () => {
  const known: [number, number][] = [
    [0x0000, 0],
    [0x8000, -0],
    [0x0001, 2 ** -24],
    [0x8001, -(2 ** -24)],
    [0x03ff, 1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x3555, 0.333251953125],
    [0x3bff, 0.99951171875],
    [0x3c00, 1],
    [0x3c01, 1.0009765625],
    [0xc000, -2],
    [0x7bff, 65504],
    [0xfbff, -65504],
    [0x7c00, Number.POSITIVE_INFINITY],
    [0xfc00, Number.NEGATIVE_INFINITY],
    [0x7e00, Number.NaN],
    [0x7c01, Number.NaN],
    [0xffff, Number.NaN],
  ];
  for (const [bits, value] of known) assert.ok(Object.is(halfToFloat(bits), value), `0x${bits.toString(16)}`);
});

test('half-precision values rise with their patterns, in steps that double at each power of two', () => {
  for (let bits = 0; bits < 0x7bff; bits++) {
    const step = halfToFloat(bits + 1) - halfToFloat(bits);
    const exponent = Math.max(1, bits >> 10);
    assert.equal(step, 2 ** (exponent - 25), `0x${bits.toString(16)}`);
    assert.equal(halfToFloat(bits | 0x8000), -halfToFloat(bits));
  }
});

test('float32 tensors are read bit for bit', async (t) => {
  const values = Float32Array.of(1, -0, 2 ** -149, 3.4028234663852886e38, Number.NEGATIVE_INFINITY, Math.PI);
  const found = await floatsOf(t, 'F32', new Uint8Array(values.buffer), 4);
  assert.ok(found.every((value, i) => Object.is(value, values[i])));
  assert.equal(found.length, values.length);
});

test('float64 tensors are rounded to the nearest float32', async (t) => {
  const random = new Generator(5);
  const values = Float64Array.from({ length: 200 }, () => random.normal() * 10 ** (random.below(60) - 30));
  values[0] = 1e300;
  values[1] = 1 + 2 ** -24;
  values[2] = 0.1;
  const found = await floatsOf(t, 'F64', new Uint8Array(values.buffer), 8);
  assert.equal(found[0], Number.POSITIVE_INFINITY);
  assert.equal(found[1], 1);
  assert.equal(found[2], 0.10000000149011612);
  for (const [i, value] of found.entries()) assert.ok(Object.is(value, Math.fround(values[i]!)));
});

test('bfloat16 tensors have their known values', async (t) => {
  const known: [number, number][] = [
    [0x0000, 0],
    [0x8000, -0],
    [0x0001, 2 ** -133],
    [0x0080, 2 ** -126],
    [0x3f80, 1],
    [0x3f81, 1.0078125],
    [0x4049, 3.140625],
    [0xc2f7, -123.5],
    [0x7f7f, 255 * 2 ** 120],
    [0x7f80, Number.POSITIVE_INFINITY],
    [0xff80, Number.NEGATIVE_INFINITY],
    [0x7fc0, Number.NaN],
  ];
  const bits = Uint16Array.from(known, ([pattern]) => pattern);
  const found = await floatsOf(t, 'BF16', new Uint8Array(bits.buffer), 2);
  for (const [i, [pattern, value]] of known.entries()) {
    assert.ok(Object.is(found[i], value), `0x${pattern.toString(16)}`);
  }
});

test('float16 tensors are converted entry by entry', async (t) => {
  const bits = Uint16Array.of(0x3c00, 0x8000, 0x0001, 0x7bff, 0xfc00);
  const found = await floatsOf(t, 'F16', new Uint8Array(bits.buffer), 2);
  const expected = [1, -0, 2 ** -24, 65504, Number.NEGATIVE_INFINITY];
  assert.ok(expected.every((value, i) => Object.is(found[i], value)));
});

test('a tensor of integers where floats belong is refused, naming file and type', async (t) => {
  for (const dtype of ['I32', 'U8', 'BOOL', 'I64'] as const) {
    const header = { tokens: { dtype, shape: [0], data_offsets: [0, 0] } };
    const path = rawFile(t, header);
    await refuses(() => readAllFloats(path), 'safetensors/wrong-dtype', path, dtype);
  }
});

test('all tensors of a file come with shape, type and values', async (t) => {
  const header = {
    b_dec: { dtype: 'F32', shape: [2], data_offsets: [0, 8] },
    W_dec: { dtype: 'BF16', shape: [1, 2], data_offsets: [8, 12] },
  };
  const data = Buffer.concat([
    new Uint8Array(Float32Array.of(5, 6).buffer),
    new Uint8Array(Uint16Array.of(0x3f80, 0x4000).buffer),
  ]);
  const floats = await readAllFloats(rawFile(t, header, data));
  assert.deepEqual([...floats.keys()], ['b_dec', 'W_dec']);
  assert.deepEqual(floats.get('b_dec'), { shape: [2], dtype: 'F32', values: Float32Array.of(5, 6) });
  assert.deepEqual(floats.get('W_dec'), { shape: [1, 2], dtype: 'BF16', values: Float32Array.of(1, 2) });
});

test('the bytes of a tensor are those of its place in the file', async (t) => {
  const data = Uint8Array.from({ length: 50 }, (_, i) => i);
  const bytes = (begin: number, end: number) => ({ dtype: 'U8', shape: [end - begin], data_offsets: [begin, end] });
  const header = { before: bytes(0, 13), x: bytes(13, 20), after: bytes(20, 50) };
  const { tensors } = await readSafetensorsHeader(rawFile(t, header, data));
  assert.deepEqual([...(await readTensorBytes(tensors.get('x')!))], [13, 14, 15, 16, 17, 18, 19]);
});

test('a file that became shorter after its header was read is refused by name', async (t) => {
  const path = rawFile(t, {}, new Uint8Array(4));
  const location = { path, dtype: 'F32', shape: [100], offset: 8, length: 400 } as const;
  await refuses(() => readTensorBytes(location), 'safetensors/shortened', path, 'truncated');
});
