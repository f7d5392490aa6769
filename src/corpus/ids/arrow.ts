import { isUtf8 } from 'node:buffer';
import { type Data, DataType, RecordBatchReader, type Schema, Type, type Vector } from 'apache-arrow';
import { UnsupportedIpc } from '../../disk/ipc-check.js';
import { StreamMessages } from '../../disk/ipc-messages.js';
import { Refusal } from '../../errors/refusal.js';
import type { Document } from '../contexts.js';
import { firstWrong, guessEncoding, type Remarks } from '../encodings.js';
import { wrongText } from '../parquet.js';
import { tokenIds, USUAL_FIELD } from './ids.js';

/** Max bytes of a record batch; Hugging Face's `datasets` writes 1,000 rows each. */
const MOST_BODY = 2 ** 29;
const FILE_MAGIC = Buffer.from('ARROW1\0\0');

/** The column with the documents of an Arrow file. */
interface ArrowReading {
  readonly textField: string;
  /** Read token ids from this column. */
  readonly idsField?: string;
}

/**
 * Documents of an Arrow file, either an IPC stream (as written by `datasets`) or in the file format: rows of a column
 * of strings or of lists of token ids, one record batch at a time. Null rows are skipped.
 *
 * @throws Refusal if it is damaged or has no such column
 */
export async function* arrowDocuments(
  file: string,
  bytes: AsyncGenerator<Buffer>,
  reading: ArrowReading,
  remarks: Remarks,
): AsyncGenerator<Document> {
  let row = 0;
  try {
    const messages = new StreamMessages(withoutMagic(bytes));
    const schema = await messages.next(0);
    if (typeof schema === 'string') throw new RangeError('it has no schema');
    const column = columnOf(file, RecordBatchReader.from(schema).open().schema, reading);
    for (;;) {
      const message = await messages.next(MOST_BODY, schema.length);
      if (message === 'end marker') return;
      if (typeof message === 'string') throw new RangeError('it ends too early, or is damaged');
      message.set(schema);
      const { value: batch, done } = RecordBatchReader.from(message).open().next();
      if (done) throw new RangeError('a record batch cannot be read');
      const values = batch.getChild(column.name)!;
      for (const document of documentsOf(values, column, { file, row }, remarks)) yield document;
      row += batch.numRows;
    }
  } catch (cause) {
    throw cause instanceof Refusal ? cause : brokenArrow(file, cause);
  } finally {
    await bytes.return(undefined);
  }
}

/** The file format is a stream after eight bytes, followed by a footer. */
async function* withoutMagic(bytes: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  let begun: Buffer = Buffer.alloc(0);
  while (begun.length < FILE_MAGIC.length) {
    const { value, done } = await bytes.next();
    if (done) break;
    begun = Buffer.concat([begun, value]);
  }
  const isFile = begun.subarray(0, FILE_MAGIC.length).equals(FILE_MAGIC);
  const first = isFile ? begun.subarray(FILE_MAGIC.length) : begun;
  if (first.length > 0) yield first;
  yield* bytes;
}

interface Column {
  readonly name: string;
  readonly holds: 'text' | 'ids';
}

function columnOf(file: string, { fields }: Schema, { textField, idsField }: ArrowReading): Column {
  const names = fields.map(({ name }) => name);
  const wanted = idsField ?? (names.includes(textField) || !names.includes(USUAL_FIELD) ? textField : USUAL_FIELD);
  const holds = idsField === undefined && wanted === textField ? 'text' : 'ids';
  const found = fields.filter(({ name }) => name === wanted);
  const [field] = found;
  const flag = holds === 'text' ? '--text-field' : '--ids-field';
  const refuse = (what: string) =>
    new Refusal(
      `${file} ${what} (its columns: ${names.join(', ')}).`,
      `Give the column with ${flag}.`,
      'corpus/no-text-column',
    );
  if (!field) throw refuse(`has no column "${wanted}"`);
  if (found.length > 1) throw refuse(`has ${found.length} columns "${wanted}"`);
  const { type } = field;
  const isText = DataType.isUtf8(type) || DataType.isLargeUtf8(type);
  const isList = DataType.isList(type) || DataType.isFixedSizeList(type);
  const isIds = isList && DataType.isInt(type.children[0]!.type);
  if (holds === 'text' ? !isText : !isIds) {
    throw refuse(`has no ${holds === 'text' ? 'text' : 'lists of token ids'} in column "${wanted}", which is ${type}`);
  }
  return { name: wanted, holds };
}

function* documentsOf(
  column: Vector,
  { name, holds }: Column,
  first: { readonly file: string; readonly row: number },
  remarks: Remarks,
): Generator<Document> {
  const [data] = column.data;
  if (!data) return;
  const lists = holds === 'ids' ? listsOf(data) : undefined;
  const texts = holds === 'text' ? bytesOf(data) : undefined;
  for (let row = 0; row < column.length; row++) {
    const place = { row: first.row + row, byte: 0 };
    const source = `${first.file}, row ${place.row}`;
    if (!column.isValid(row)) remarks.addNull();
    else if (lists) yield { pieces: [], ids: [tokenIds(lists(row), source, name)], source, place };
    else yield { pieces: [textOf(texts!(row), source, name)], source, place };
  }
}

/** @throws Refusal if bytes are not UTF-8: apache-arrow would read them as U+FFFD and drop a leading U+FEFF */
function textOf(bytes: Buffer, source: string, name: string): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  const at = firstWrong(bytes, false);
  throw wrongText(source, name, at, guessEncoding(bytes, bytes.subarray(at)).what);
}

/** The bytes of a row of a string column. @throws RangeError if its offsets are out of bounds */
function bytesOf({ values, valueOffsets }: Data): (row: number) => Buffer {
  const { buffer, byteOffset, byteLength } = values as Uint8Array;
  const all = Buffer.from(buffer, byteOffset, byteLength);
  return (row) => {
    const [from, to] = [Number(valueOffsets[row]), Number(valueOffsets[row + 1])];
    if (!(from >= 0 && from <= to && to <= all.length)) throw new RangeError('texts reach beyond their bytes');
    return all.subarray(from, to);
  };
}

type Numbers = Exclude<Data['values'], undefined> & ArrayLike<unknown>;

/** The numbers of a row of a list column. @throws RangeError if its offsets are out of bounds */
function listsOf({ type, valueOffsets, children, length }: Data): (row: number) => ArrayLike<unknown> {
  const [child] = children;
  if (!child || child.nullCount > 0) throw new RangeError('a list contains a null');
  const values = child.values as Numbers & { subarray(from: number, to: number): ArrayLike<unknown> };
  if (type.typeId === Type.FixedSizeList) {
    const { listSize } = type as unknown as { readonly listSize: number };
    if (listSize * length > child.length) throw new RangeError('lists reach beyond their numbers');
    return (row) => values.subarray(row * listSize, (row + 1) * listSize);
  }
  return (row) => {
    const [from, to] = [valueOffsets[row]!, valueOffsets[row + 1]!];
    if (!(from >= 0 && from <= to && to <= child.length)) throw new RangeError('lists reach beyond their numbers');
    return values.subarray(from, to);
  };
}

function brokenArrow(file: string, cause: unknown): Refusal {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new Refusal(
    `${file} could not be read as Arrow: ${reason}.`,
    cause instanceof UnsupportedIpc
      ? 'Write it without compression and without dictionaries, as save_to_disk of `datasets` does.'
      : 'Write or fetch the file again.',
    'corpus/broken-arrow',
    { cause },
  );
}
