import {
  DataType,
  Field,
  FixedSizeList,
  Float16,
  Float32,
  Int32,
  List,
  makeData,
  RecordBatch,
  RecordBatchFileWriter,
  Schema,
  Struct,
  tableFromIPC,
  Uint16,
  Uint32,
} from 'apache-arrow';
import type { Context } from '../corpus/contexts.js';
import { checkIpcFile, UnsupportedIpc } from '../disk/ipc-check.js';
import { Refusal } from '../errors/refusal.js';
import type { ActivationDType } from './manifest.js';
import type { ActivationArray, Rows } from './rows.js';

/**
 * Rows and contexts as Arrow files and record batches. Apart from the rows themselves (rows.ts): Arrow is 160 modules,
 * and each thread that loads them takes a quarter of a second for it.
 */

function elementType(dtype: ActivationDType): Float16 | Float32 | Uint16 {
  // Arrow has no bfloat16; its bits travel as uint16 and the field says so.
  return dtype === 'float16' ? new Float16() : dtype === 'float32' ? new Float32() : new Uint16();
}

/** Columns of a shard, and of a stream of rows; `metadata` is the schema's own. */
export function rowsSchema(d: number, dtype: ActivationDType, metadata?: Map<string, string>): Schema {
  const list = new FixedSizeList(d, new Field('item', elementType(dtype), false));
  const bits = dtype === 'bfloat16' ? new Map([['dtype', 'bfloat16']]) : undefined;
  return new Schema(
    [
      new Field('activation', list, false, bits),
      new Field('token', new Int32(), false),
      new Field('context', new Uint32(), false),
      new Field('pos', new Uint32(), false),
    ],
    metadata,
  );
}

/** Rows as a record batch of `schema`, which is that of rowsSchema; nothing is copied. */
export function rowsBatch(schema: Schema, rows: Rows): RecordBatch {
  const length = rows.token.length;
  const list = schema.fields[0]!.type as FixedSizeList;
  const child = makeData({
    type: list.children[0]!.type as Float16,
    length: length * list.listSize,
    data: rows.activation as Uint16Array,
  });
  const children = [
    makeData({ type: list, length, nullCount: 0, child }),
    makeData({ type: new Int32(), length, data: rows.token }),
    makeData({ type: new Uint32(), length, data: rows.context }),
    makeData({ type: new Uint32(), length, data: rows.pos }),
  ];
  return recordBatch(schema, children, length);
}

/**
 * The columns of a record batch, not copied.
 *
 * @param broken called with a description if they are not those of rowsSchema
 */
export function rowsOf(batch: RecordBatch, d: number, dtype: ActivationDType, broken: (what: string) => never): Rows {
  const rows = batch.numRows;
  const column = (name: string) => {
    const named = batch.schema.fields.filter((field) => field.name === name).length;
    if (named > 1) return broken(`it has ${named} columns "${name}"`);
    const data = batch.getChild(name)?.data[0] ?? broken(`it has no column "${name}"`);
    return data.length === rows ? data : broken(`its column "${name}" has ${data.length} of ${rows} rows`);
  };
  const values = (name: string, type: string) => {
    const data = column(name);
    if (String(data.type) !== type) return broken(`its column "${name}" is ${data.type} where ${type} belongs`);
    if (data.nullCount > 0) return broken(`its column "${name}" has nulls`);
    // Arrow pads buffers to 8 bytes; the padding is not rows. Lengths are what the file says, values what it has.
    const there = (data.values as Int32Array | Uint32Array).subarray(0, rows);
    return there.length === rows ? there : broken(`its column "${name}" is cut off`);
  };
  const list = column('activation');
  // Lists of any other kind store a length per row.
  if (!DataType.isFixedSizeList(list.type)) {
    return broken(`its column "activation" is ${list.type} where FixedSizeList[${d}]<${elementType(dtype)}> belongs`);
  }
  const entries = list.children[0];
  if (!entries || list.type.listSize !== d || entries.length !== rows * d) return broken(`its rows are not ${d} wide`);
  const named = batch.schema.fields.find(({ name }) => name === 'activation')?.metadata.get('dtype') ?? dtype;
  if (String(entries.type) !== String(elementType(dtype)) || named !== dtype) {
    return broken(`its activations are not ${dtype}`);
  }
  if (list.nullCount > 0 || entries.nullCount > 0) return broken('its column "activation" has nulls');
  const activation = (entries.values as ActivationArray).subarray(0, rows * d);
  if (activation.length !== rows * d) return broken('its column "activation" is cut off');
  return {
    activation,
    token: values('token', 'Int32') as Int32Array,
    context: values('context', 'Uint32') as Uint32Array,
    pos: values('pos', 'Uint32') as Uint32Array,
  };
}

/** One shard as the bytes of an Arrow IPC file, a single record batch. */
export function encodeShard(rows: Rows, d: number, dtype: ActivationDType): Uint8Array {
  return ipcFile(rowsBatch(rowsSchema(d, dtype), rows));
}

/** The same bytes in pieces, of which the large ones are the rows' own memory. */
export async function shardChunks(rows: Rows, d: number, dtype: ActivationDType): Promise<Uint8Array[]> {
  const writer = new RecordBatchFileWriter();
  writer.write(rowsBatch(rowsSchema(d, dtype), rows));
  writer.close();
  const chunks: Uint8Array[] = [];
  for await (const chunk of writer) chunks.push(chunk);
  return chunks;
}

/**
 * Decodes a shard without copying its columns.
 *
 * @throws Refusal if the bytes are not an Arrow file, or lack the columns of a store of this width and type
 */
export function decodeShard(bytes: Uint8Array, d: number, dtype: ActivationDType, path: string): Rows {
  const broken = (what: string): never => {
    throw new Refusal(
      `${path} is not a shard of this store: ${what}.`,
      'Harvest the store again.',
      'activations/foreign-shard',
    );
  };
  let batch: RecordBatch;
  try {
    checkIpcFile(bytes);
    const table = tableFromIPC(bytes);
    if (table.batches.length !== 1) return broken(`it has ${table.batches.length} record batches where 1 belongs`);
    batch = table.batches[0]!;
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    return broken(cause instanceof UnsupportedIpc ? cause.message : 'it is not an Arrow IPC file');
  }
  return rowsOf(batch, d, dtype, broken);
}

/** Contexts as the bytes of an Arrow IPC file: columns context, tokens and documents (lists as long as the context). */
export function encodeContexts(contexts: readonly Context[]): Uint8Array {
  const length = contexts.length;
  const width = contexts[0]?.tokens.length ?? 0;
  const tokens = new Int32Array(length * width);
  const documents = new Uint32Array(length * width);
  const index = new Uint32Array(length);
  for (const [i, context] of contexts.entries()) {
    tokens.set(context.tokens, i * width);
    documents.set(context.documents, i * width);
    index[i] = context.index;
  }
  const valueOffsets = Int32Array.from({ length: length + 1 }, (_, i) => i * width);
  const tokensType = new List(new Field('item', new Int32(), false));
  const documentsType = new List(new Field('item', new Uint32(), false));
  const schema = new Schema([
    new Field('context', new Uint32(), false),
    new Field('tokens', tokensType, false),
    new Field('documents', documentsType, false),
  ]);
  const tokensChild = makeData({ type: new Int32(), length: tokens.length, data: tokens });
  const documentsChild = makeData({ type: new Uint32(), length: documents.length, data: documents });
  const children = [
    makeData({ type: new Uint32(), length, data: index }),
    makeData({ type: tokensType, length, nullCount: 0, valueOffsets, child: tokensChild }),
    makeData({ type: documentsType, length, nullCount: 0, valueOffsets, child: documentsChild }),
  ];
  return ipcFile(recordBatch(schema, children, length));
}

function recordBatch(schema: Schema, children: unknown[], length: number): RecordBatch {
  const data = makeData({ type: new Struct(schema.fields), length, nullCount: 0, children: children as never });
  return new RecordBatch(schema, data);
}

function ipcFile(batch: RecordBatch): Uint8Array {
  const writer = new RecordBatchFileWriter();
  writer.write(batch);
  writer.close();
  return writer.toUint8Array(true);
}
