import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecordBatchStreamWriter, tableFromIPC } from 'apache-arrow';
import { rowsBatch, rowsSchema } from '../../src/activations/arrow-rows.js';
import { HEADER_KEY, RowStream, type StreamHeader, streamSchema } from '../../src/activations/row-stream.js';
import type { Rows } from '../../src/activations/rows.js';
import { activationDTypes } from '../../src/config/values.js';
import { Refusal } from '../../src/errors/refusal.js';
import { refusalOf, refuses } from '../config/refuses.js';
import { D, headerOf, inChunks, streamBytes } from './stream-bytes.js';
import { numberedPieces, numberedRows, rowTexts } from './synthetic.js';

async function readAll(bytes: Uint8Array, chunk = 1000): Promise<{ header: StreamHeader; pieces: Rows[] }> {
  const stream = await RowStream.open(inChunks(bytes, chunk), 'the pipe');
  const pieces: Rows[] = [];
  for (let rows = await stream.next(); rows; rows = await stream.next()) pieces.push(rows);
  return { header: stream.header, pieces };
}

/** A stream written by Arrow alone, of whatever schema metadata and rows. */
function foreign(metadata: Map<string, string>, pieces: readonly Rows[], dtype: StreamHeader['dtype'] = 'float32') {
  const schema = rowsSchema(D, dtype, metadata);
  const writer = new RecordBatchStreamWriter();
  for (const rows of pieces) writer.write(rowsBatch(schema, rows));
  writer.close();
  return writer.toUint8Array(true);
}
const withHeader = (header: object, pieces: readonly Rows[], dtype?: StreamHeader['dtype']) =>
  foreign(new Map([[HEADER_KEY, JSON.stringify(header)]]), pieces, dtype);

test('what is read is what was written, in every element type and however the bytes are cut', async () => {
  for (const dtype of activationDTypes) {
    const header = headerOf(24, { dtype });
    const pieces = numberedPieces([10, 10, 4], D, dtype);
    const bytes = await streamBytes(header, pieces);
    for (const chunk of [1, 7, 64, 1000, 1e6]) {
      const found = await readAll(bytes, chunk);
      assert.deepEqual(found.header, header);
      assert.deepEqual(
        found.pieces.map((rows) => rowTexts(rows, D)),
        pieces.map((rows) => rowTexts(rows, D)),
      );
      assert.equal(found.pieces[0]!.activation.constructor, pieces[0]!.activation.constructor);
    }
  }
});

test('other readers find the columns of a shard, and the header in the metadata of the schema', async () => {
  const header = headerOf(14, { dtype: 'bfloat16' });
  const table = tableFromIPC(await streamBytes(header, numberedPieces([10, 4], D, 'bfloat16')));
  assert.deepEqual(
    table.schema.fields.map(({ name, type }) => [name, String(type)]),
    [
      ['activation', 'FixedSizeList[3]<Uint16>'],
      ['token', 'Int32'],
      ['context', 'Uint32'],
      ['pos', 'Uint32'],
    ],
  );
  assert.equal(table.schema.fields[0]!.metadata.get('dtype'), 'bfloat16');
  assert.deepEqual(JSON.parse(table.schema.metadata.get('sae-pipe')!), header);
  assert.deepEqual(
    table.batches.map(({ numRows }) => numRows),
    [10, 4],
  );
});

test('the header has the keys of a manifest, except files', () => {
  assert.deepEqual(Object.keys(headerOf(5, { precision: 'float32' })).sort(), [
    'batch',
    'bos_token_id',
    'context',
    'corpus',
    'd_in',
    'dtype',
    'format',
    'hook',
    'model',
    'precision',
    'prepend_bos',
    'rows',
    'rows_per_batch',
    'seed',
    'text_field',
    'version',
    'window_batches',
  ]);
  assert.equal(headerOf(5).rows, 5);
});

test('a stream that ends early is distinguished from a complete one, wherever it is cut', async () => {
  const bytes = await streamBytes(headerOf(24), numberedPieces([10, 10, 4], D));
  let begun = false;
  for (let length = 0; length < bytes.length; length += 1) {
    const codes = ['activations/empty-stream', 'activations/stream-cut-short'] as const;
    const { code, message } = await refusalOf(() => readAll(bytes.subarray(0, length)), Refusal, codes);
    // Once the schema is whole, it is known how many rows are missing.
    begun ||= code === codes[1];
    assert.equal(code, begun ? codes[1] : codes[0], `cut at ${length}`);
    if (begun) assert.match(message, / after (0|10|20|24) of 24 rows/, `cut at ${length}`);
  }
  assert.ok(begun);
});

test('a cut stream gives its complete rows, and says how many', async () => {
  const bytes = await streamBytes(headerOf(24), numberedPieces([10, 10, 4], D));
  const stream = await RowStream.open(inChunks(bytes.subarray(0, bytes.length - 200), 50), 'the pipe');
  assert.equal((await stream.next())!.token.length, 10);
  assert.equal((await stream.next())!.token.length, 10);
  await refuses(() => stream.next(), 'activations/stream-cut-short', 'the pipe ended after 20 of 24 rows');
});

test('a stream whose end marker comes before its rows ended early', async () => {
  const bytes = withHeader(headerOf(24), numberedPieces([10, 10], D));
  await refuses(() => readAll(bytes), 'activations/stream-cut-short', 'the pipe ended after 20 of 24 rows');
});

test('what is not a stream of rows is refused in one sentence', async () => {
  const rows = numberedPieces([5], D);
  for (const [bytes, code, named] of [
    [Buffer.from('{"text": "a corpus, not a stream"}\n'.repeat(50)), 'activations/not-arrow', ''],
    [Buffer.alloc(5000, 0xff), 'activations/not-arrow', ''],
    [Buffer.alloc(5000), 'activations/not-arrow', ''],
    [foreign(new Map(), rows), 'activations/foreign-stream', '"sae-pipe"'],
    [foreign(new Map([[HEADER_KEY, '{']]), rows), 'activations/foreign-stream', 'JSON'],
    [foreign(new Map([[HEADER_KEY, 'null']]), rows), 'activations/foreign-stream', 'wrong'],
    [withHeader({ ...headerOf(5), version: 2 }, rows), 'activations/other-version', 'version 2'],
    [withHeader({ ...headerOf(5), format: 'else' }, rows), 'activations/foreign-stream', '"format"'],
    [withHeader({ ...headerOf(5), rows: -1 }, rows), 'activations/foreign-stream', '"rows"'],
    [withHeader({ ...headerOf(5), model: {} }, rows), 'activations/foreign-stream', '"model.name"'],
  ] as const) {
    await refuses(() => readAll(bytes), code, 'the pipe', named);
  }
});

test('every record batch is checked against the header', async () => {
  const whole = numberedPieces([10, 10], D);
  const nan = numberedRows(10, D);
  nan.activation.set([Number.NaN, Number.NEGATIVE_INFINITY], 8);
  const infinite = numberedRows(10, D, 'float16');
  infinite.activation[3] = 0x7c00;
  const brain = numberedRows(10, D, 'bfloat16');
  brain.activation[29] = 0xff81;
  for (const [bytes, message] of [
    [withHeader(headerOf(20, { d_in: 4 }), whole), 'after 0 of 20 rows: its rows are not 4 wide'],
    [withHeader(headerOf(20, { dtype: 'float16' }), whole), 'its activations are not float16'],
    [withHeader(headerOf(20), [whole[0]!, numberedRows(11, D)]), 'after 10 of 20 rows: it has 11 rows where 10 are'],
    [withHeader(headerOf(15), whole), 'after 10 of 15 rows: it continues beyond the 15 rows'],
    [withHeader(headerOf(10), whole), 'after 10 of 10 rows: it contains something that is not an Arrow message'],
    [withHeader(headerOf(20), [whole[0]!, nan]), 'after 10 of 20 rows: row 12 (context 0, position 3) holds NaN'],
    [
      withHeader(headerOf(10, { dtype: 'float16' }), [infinite], 'float16'),
      'row 1 (context 0, position 2) holds Infinity',
    ],
    [withHeader(headerOf(10, { dtype: 'bfloat16' }), [brain], 'bfloat16'), 'row 9 (context 2, position 2) holds NaN'],
  ] as const) {
    await refuses(() => readAll(bytes), 'activations/broken-stream', 'the pipe is broken', message);
  }
});

test('the largest finite activations pass', async () => {
  for (const [dtype, bits] of [
    ['float16', 0x7bff],
    ['bfloat16', 0xff7f],
  ] as const) {
    const rows = numberedRows(4, D, dtype);
    rows.activation[5] = bits;
    const { pieces } = await readAll(await streamBytes(headerOf(4, { dtype }), [rows]));
    assert.equal(pieces[0]!.activation[5], bits);
  }
  const rows = numberedRows(4, D);
  rows.activation[5] = -(2 - 2 ** -23) * 2 ** 127;
  assert.deepEqual((await readAll(await streamBytes(headerOf(4), [rows]))).pieces, [rows]);
});

test('columns of other names or types are refused by name', async () => {
  const rows = numberedRows(4, D);
  const schema = streamSchema(headerOf(4));
  const batch = rowsBatch(schema, rows);
  for (const [columns, message] of [
    [['activation', 'token', 'context'], 'it has no column "pos"'],
    [['token', 'context', 'pos'], 'it has no column "activation"'],
  ] as const) {
    const writer = new RecordBatchStreamWriter();
    const selected = batch.select(columns as unknown as string[]);
    selected.schema.metadata.set(HEADER_KEY, JSON.stringify(headerOf(4)));
    writer.write(selected);
    writer.close();
    await refuses(() => readAll(writer.toUint8Array(true)), 'activations/broken-stream', message);
  }
});

test('a size that no record batch of the header can have is refused before memory is taken for it', async () => {
  const bytes = await streamBytes(headerOf(24), numberedPieces([10, 10, 4], D));
  const schemaLength = 8 + bytes.readInt32LE(4);
  // bodyLength is the one int64 of the first batch's message that holds the length of its body.
  const head = bytes.subarray(schemaLength, schemaLength + 8 + bytes.readInt32LE(schemaLength + 4));
  const body = Buffer.alloc(8);
  const next = bytes.indexOf(Buffer.from([0xff, 0xff, 0xff, 0xff]), schemaLength + head.length);
  body.writeBigInt64LE(BigInt(next - schemaLength - head.length));
  const at = head.indexOf(body);
  assert.ok(at > 0);
  head.writeBigInt64LE(2n ** 40n, at);
  await refuses(
    () => readAll(bytes),
    'activations/broken-stream',
    'it contains something that is not an Arrow message',
  );
});

test('a read error of the pipe is reported with its cause', async () => {
  const bytes = await streamBytes(headerOf(24), numberedPieces([10, 10, 4], D));
  async function* failing() {
    yield bytes.subarray(0, 1200);
    throw Object.assign(new Error('reset'), { code: 'ECONNRESET' });
  }
  const stream = await RowStream.open(failing(), 'the pipe');
  await refuses(() => stream.next(), 'activations/stream-not-readable');
});
