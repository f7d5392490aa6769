import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CompressionType,
  compressionRegistry,
  type Data,
  type DataType,
  Field,
  FixedSizeList,
  Float32,
  Float64,
  Int32,
  Int64,
  LargeList,
  List,
  makeData,
  RecordBatch,
  RecordBatchFileWriter,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  Uint16,
  Uint32,
  vectorFromArray,
} from 'apache-arrow';
import { decodeShard } from '../../src/activations/arrow-rows.js';
import { HEADER_KEY, RowStream } from '../../src/activations/row-stream.js';
import { checkMessage } from '../../src/disk/ipc-check.js';
import { refuses } from '../config/refuses.js';
import { D, headerOf, inChunks } from './stream-bytes.js';

/** Rows, and their columns as another program may write them. */
const ROWS = 10;
const floats = makeData({
  type: new Float32(),
  length: ROWS * D,
  data: Float32Array.from({ length: ROWS * D }, (_, i) => i),
});
const item = (type: DataType, nullable = false) => new Field('item', type, nullable);

const fixed = (type: DataType, child: Data, width = D) =>
  makeData({ type: new FixedSizeList(width, item(type)), length: ROWS, nullCount: 0, child: child as never });
const activation = fixed(new Float32(), floats);
const integers = (type: Int32 | Uint32) => makeData({ type: type as Int32, length: ROWS, data: new Int32Array(ROWS) });
const columns: Record<string, Data> = {
  activation,
  token: integers(new Int32()),
  context: integers(new Uint32()),
  pos: integers(new Uint32()),
};

function batchOf(named: readonly (readonly [string, Data])[], metadata?: Map<string, string>) {
  const schema = new Schema(
    named.map(([name, { type }]) => new Field(name, type, true, metadata)),
    new Map([[HEADER_KEY, JSON.stringify(headerOf(ROWS))]]),
  );
  const children = named.map(([, data]) => data) as never;
  return new RecordBatch(schema, makeData({ type: new Struct(schema.fields), length: ROWS, nullCount: 0, children }));
}

/** A file and a stream of one record batch. */
function written(batch: RecordBatch, options = {}): { file: Uint8Array; stream: Uint8Array } {
  const [file, stream] = [new RecordBatchFileWriter(options), new RecordBatchStreamWriter(options)].map((writer) => {
    writer.write(batch);
    writer.close();
    return writer.toUint8Array(true);
  });
  return { file: file!, stream: stream! };
}

async function refusesBoth(
  { file, stream }: ReturnType<typeof written>,
  what: string,
  code: 'activations/broken-stream' | 'activations/stream-not-readable' = 'activations/broken-stream',
): Promise<void> {
  await refuses(() => decodeShard(file, D, 'float32', 'shard'), 'activations/foreign-shard', 'shard', what);
  const reading = async () => {
    const rows = await RowStream.open(inChunks(stream, 100), 'the pipe');
    await rows.next();
  };
  await refuses(reading, code, 'the pipe', what);
}

const withColumn = (name: string, data: Data) => Object.entries({ ...columns, [name]: data });

test('columns as they are documented are read, from whoever wrote them', async () => {
  const { file, stream } = written(batchOf(Object.entries(columns)));
  assert.equal(decodeShard(file, D, 'float32', 'shard').activation[4], 4);
  const rows = await RowStream.open(inChunks(stream, 100), 'the pipe');
  assert.equal((await rows.next())!.activation[4], 4);
});

test('activations in lists that are not all as wide as the rows must be are refused', async () => {
  const even = Int32Array.from({ length: ROWS + 1 }, (_, i) => i * D);
  const uneven = Int32Array.from(even, (offset, i) => (i === 1 ? offset - 1 : offset));
  for (const valueOffsets of [even, uneven]) {
    const list = makeData({
      type: new List(item(new Float32())),
      length: ROWS,
      nullCount: 0,
      valueOffsets,
      child: floats,
    });
    await refusesBoth(written(batchOf(withColumn('activation', list))), 'is List<Float32>');
  }
  const large = makeData({
    type: new LargeList(item(new Float32())),
    length: ROWS,
    nullCount: 0,
    valueOffsets: BigInt64Array.from(even, BigInt),
    child: floats,
  });
  await refusesBoth(written(batchOf(withColumn('activation', large))), 'is LargeList<Float32>');
  const wide = makeData({ type: new Float32(), length: ROWS * 6, data: new Float32Array(ROWS * 6) });
  await refusesBoth(written(batchOf(withColumn('activation', fixed(new Float32(), wide, 6)))), `not ${D} wide`);
  // As many entries as there should be.
  const inner = makeData({
    type: new FixedSizeList(1, item(new Float32())),
    length: ROWS * D,
    nullCount: 0,
    child: floats,
  });
  await refusesBoth(written(batchOf(withColumn('activation', fixed(inner.type, inner)))), 'not float32');
});

test('columns of other types, of nulls, doubled or dictionary-encoded are refused', async () => {
  await refusesBoth(written(batchOf(withColumn('activation', floats.slice(0, ROWS)))), 'is Float32 where');
  const doubles = makeData({ type: new Float64(), length: ROWS * D, data: new Float64Array(ROWS * D) });
  await refusesBoth(written(batchOf(withColumn('activation', fixed(new Float64(), doubles)))), 'not float32');
  const half = makeData({ type: new Uint16(), length: ROWS * D, data: new Uint16Array(ROWS * D) });
  await refusesBoth(written(batchOf(withColumn('activation', fixed(new Uint16(), half)))), 'not float32');
  const long = makeData({ type: new Int64(), length: ROWS, data: new BigInt64Array(ROWS) });
  await refusesBoth(written(batchOf(withColumn('token', long))), 'is Int64 where Int32 belongs');
  const nullBitmap = Uint8Array.of(0b11111011, 3);
  const someNull = makeData({
    type: new Uint32(),
    length: ROWS,
    nullCount: 1,
    nullBitmap,
    data: new Uint32Array(ROWS),
  });
  await refusesBoth(written(batchOf(withColumn('pos', someNull))), '"pos" has nulls');
  const nullRow = makeData({ type: activation.type, length: ROWS, nullCount: 1, nullBitmap, child: floats });
  await refusesBoth(written(batchOf(withColumn('activation', nullRow))), '"activation" has nulls');
  await refusesBoth(written(batchOf([...Object.entries(columns), ['token', columns.token!]])), '2 columns "token"');
  const words = vectorFromArray(['a', 'b', 'a', 'b', 'a', 'b', 'a', 'b', 'a', 'b']).data[0]!;
  await refusesBoth(
    written(batchOf(withColumn('more', words))),
    'dictionary-encoded',
    'activations/stream-not-readable',
  );
});

test('bits that say that they are of another type are refused', async () => {
  const bits = makeData({ type: new Uint16(), length: ROWS * D, data: new Uint16Array(ROWS * D) });
  for (const [metadata, refused] of [
    [undefined, false],
    [new Map([['dtype', 'bfloat16']]), false],
    [new Map([['dtype', 'float16']]), true],
  ] as const) {
    const { file } = written(batchOf(withColumn('activation', fixed(new Uint16(), bits)), metadata));
    const decoded = () => decodeShard(file, D, 'bfloat16', 'shard');
    if (refused) await refuses(decoded, 'activations/foreign-shard', 'not bfloat16');
    else decoded();
  }
});

test('compressed files and streams are refused as what they are', async () => {
  // The codec need only look like one: nothing is read with it.
  const frame = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 0);
  compressionRegistry.set(CompressionType.ZSTD, { encode: () => frame, decode: () => frame });
  const options = { compressionType: CompressionType.ZSTD };
  await refusesBoth(
    written(batchOf(Object.entries(columns)), options),
    'compressed',
    'activations/stream-not-readable',
  );
});

test('a big-endian schema is refused', () => {
  /** A message that is a schema of nothing but its endianness: FlatBuffers tables, each after its vtable. */
  const message = (endianness: number) =>
    Uint8Array.from(
      [
        [16, 0, 0, 0],
        // Fields of a message: version, type of the header, header.
        [10, 0, 12, 0, 0, 0, 4, 0, 8, 0, 0, 0],
        [12, 0, 0, 0, 1, 0, 0, 0, 12, 0, 0, 0],
        // Fields of a schema: endianness.
        [6, 0, 8, 0, 4, 0, 0, 0],
        [8, 0, 0, 0, endianness, 0, 0, 0],
      ].flat(),
    );
  assert.equal(checkMessage(message(0)), 0);
  assert.throws(() => checkMessage(message(1)), /big-endian/);
});
