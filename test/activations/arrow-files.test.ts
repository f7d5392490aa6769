import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Table, tableFromArrays, tableFromIPC, tableToIPC } from 'apache-arrow';
import { decodeShard, encodeContexts, encodeShard } from '../../src/activations/arrow-rows.js';
import { allocateRows } from '../../src/activations/rows.js';
import { activationDTypes } from '../../src/config/values.js';
import { refuses } from '../config/refuses.js';
import { context, randomRows } from './synthetic.js';

const bytesOf = (array: ArrayBufferView) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);

test('memory for rows has the width and the element type asked for', () => {
  const rows = allocateRows(5, 3, 'float32');
  assert.ok(rows.activation instanceof Float32Array);
  assert.equal(rows.activation.length, 15);
  assert.equal(rows.pos.length, 5);
  assert.ok(allocateRows(5, 3, 'float16').activation instanceof Uint16Array);
  assert.ok(allocateRows(5, 3, 'bfloat16').activation instanceof Uint16Array);
});

test('a shard is decoded to the rows it was encoded from, bit for bit, in every element type', () => {
  for (const dtype of activationDTypes) {
    for (const [count, d] of [
      [1, 1],
      [7, 3],
      [64, 16],
      [129, 5],
    ] as const) {
      const rows = randomRows(count, d, dtype);
      const found = decodeShard(encodeShard(rows, d, dtype), d, dtype, 'shard');
      assert.equal(found.activation.constructor, rows.activation.constructor);
      for (const column of ['activation', 'token', 'context', 'pos'] as const) {
        assert.equal(found[column].length, rows[column].length, `${dtype} ${count}×${d} ${column}`);
        assert.ok(bytesOf(found[column]).equals(bytesOf(rows[column])), `${dtype} ${count}×${d} ${column}`);
      }
    }
  }
});

test('decoding copies no activations', () => {
  const bytes = encodeShard(randomRows(64, 16, 'float32'), 16, 'float32');
  const { activation } = decodeShard(bytes, 16, 'float32', 'shard');
  assert.equal(activation.buffer, bytes.buffer);
});

test('equal rows make equal bytes', () => {
  const [a, b] = [randomRows(20, 4, 'float16'), randomRows(20, 4, 'float16')];
  assert.ok(bytesOf(encodeShard(a, 4, 'float16')).equals(bytesOf(encodeShard(b, 4, 'float16'))));
});

test('other Arrow readers see the documented columns and types, one record batch, and what uint16 stands for', () => {
  const types = {
    float16: 'FixedSizeList[3]<Float16>',
    float32: 'FixedSizeList[3]<Float32>',
    bfloat16: 'FixedSizeList[3]<Uint16>',
  };
  for (const dtype of activationDTypes) {
    const table = tableFromIPC(encodeShard(randomRows(8, 3, dtype), 3, dtype));
    assert.deepEqual(
      table.schema.fields.map(({ name, type }) => [name, String(type)]),
      [
        ['activation', types[dtype]],
        ['token', 'Int32'],
        ['context', 'Uint32'],
        ['pos', 'Uint32'],
      ],
    );
    assert.ok(table.schema.fields.every(({ nullable }) => !nullable));
    assert.equal(table.schema.fields[0]!.metadata.get('dtype'), dtype === 'bfloat16' ? 'bfloat16' : undefined);
    assert.equal(table.batches.length, 1);
    assert.equal(table.numRows, 8);
  }
});

test('values are those of the rows for any Arrow reader', () => {
  const rows = { ...allocateRows(2, 2, 'float16'), token: Int32Array.of(5, -6) };
  rows.activation.set([0x3c00, 0xc000, 0x0001, 0x7bff]);
  const table = tableFromIPC(encodeShard(rows, 2, 'float16'));
  assert.deepEqual([...table.getChild('activation')!.get(0)!], [1, -2]);
  assert.deepEqual([...table.getChild('activation')!.get(1)!], [2 ** -24, 65504]);
  assert.deepEqual([...table.getChild('token')!], [5, -6]);
});

test('a shard of another width is refused by name', async () => {
  const bytes = encodeShard(randomRows(6, 4, 'float32'), 4, 'float32');
  for (const d of [2, 3, 8])
    await refuses(
      () => decodeShard(bytes, d, 'float32', 'shard-7'),
      'activations/foreign-shard',
      'shard-7',
      `not ${d} wide`,
    );
});

test('a shard of another element type is refused by name', async () => {
  for (const written of activationDTypes) {
    const bytes = encodeShard(randomRows(6, 4, written), 4, written);
    for (const wanted of activationDTypes.filter((dtype) => (dtype === 'float32') !== (written === 'float32'))) {
      await refuses(
        () => decodeShard(bytes, 4, wanted, 'shard-7'),
        'activations/foreign-shard',
        'shard-7',
        `not ${wanted}`,
      );
    }
  }
});

test('float16 is not taken for bfloat16, nor bfloat16 for float16, though both have 16 bits', async () => {
  for (const [written, wanted] of [
    ['float16', 'bfloat16'],
    ['bfloat16', 'float16'],
  ] as const) {
    const bytes = encodeShard(randomRows(6, 4, written), 4, written);
    await refuses(
      () => decodeShard(bytes, 4, wanted, 'shard-7'),
      'activations/foreign-shard',
      'shard-7',
      `not ${wanted}`,
    );
  }
});

test('bytes that are not an Arrow file, or only part of one, are refused by name', async () => {
  const whole = encodeShard(randomRows(64, 4, 'float32'), 4, 'float32');
  const text = new TextEncoder().encode('not an Arrow file at all, but long enough to be read as one');
  for (const bytes of [new Uint8Array(0), text, whole.slice(0, whole.length >> 1), whole.slice(0, 100)]) {
    await refuses(() => decodeShard(bytes, 4, 'float32', 'shard-7'), 'activations/foreign-shard', 'shard-7');
  }
});

test('an Arrow file without one of the columns is refused, naming it', async () => {
  const table = tableFromIPC(encodeShard(randomRows(6, 4, 'float32'), 4, 'float32'));
  for (const column of ['activation', 'token', 'context', 'pos']) {
    const others = table.schema.fields.map(({ name }) => name).filter((name) => name !== column);
    const bytes = tableToIPC(table.select(others), 'file');
    await refuses(
      () => decodeShard(bytes, 4, 'float32', 'shard-7'),
      'activations/foreign-shard',
      'shard-7',
      `"${column}"`,
    );
  }
});

test('an Arrow file of several record batches, or with a plain column of activations, is refused', async () => {
  const table = tableFromIPC(encodeShard(randomRows(6, 4, 'float32'), 4, 'float32'));
  const twice = tableToIPC(new Table(table.schema, [...table.batches, ...table.batches]), 'file');
  await refuses(() => decodeShard(twice, 4, 'float32', 'shard-7'), 'activations/foreign-shard', '2 record batches');
  const plain = tableToIPC(tableFromArrays({ activation: new Float32Array(4) }), 'file');
  await refuses(() => decodeShard(plain, 4, 'float32', 'shard-7'), 'activations/foreign-shard', 'shard-7');
});

test('contexts are kept with their tokens and the documents these came from', () => {
  const contexts = [4, 5, 9].map(context);
  const table = tableFromIPC(encodeContexts(contexts));
  assert.deepEqual(
    table.schema.fields.map(({ name }) => name),
    ['context', 'tokens', 'documents'],
  );
  assert.equal(table.numRows, 3);
  for (const [i, expected] of contexts.entries()) {
    assert.equal(table.getChild('context')!.get(i), expected.index);
    assert.deepEqual([...table.getChild('tokens')!.get(i)!], [...expected.tokens]);
    assert.deepEqual([...table.getChild('documents')!.get(i)!], [...expected.documents]);
  }
  assert.equal(tableFromIPC(encodeContexts([])).numRows, 0);
});
