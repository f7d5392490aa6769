import type { IdsDType } from '../../config/values.js';
import { Refusal } from '../../errors/refusal.js';
import type { Document } from '../contexts.js';
import { tokenIds } from './ids.js';

/** Max bytes of a header. */
const LONGEST_HEADER = 65_536;
/** Numbers per chunk. */
const PART = 2 ** 16;

type Element = IdsDType | 'int32' | 'int64';

const BYTES: Readonly<Record<Element, number>> = { uint16: 2, uint32: 4, int32: 4, int64: 8 };
/** Little-endian integers in NumPy's notation. */
const DESCRIPTIONS: Readonly<Record<string, Element>> = {
  ...{ '<u2': 'uint16', '<u4': 'uint32', '<i4': 'int32', '<i8': 'int64' },
};

/**
 * Documents of an array of token ids. A .npy file (NumPy's format, versions 1 to 3) has one document per row, or is a
 * single document if one-dimensional; a .bin file is raw numbers and a single document.
 *
 * @param bytes of the file
 * @param dtype element type of a .bin file
 * @throws Refusal if it is not such an array
 */
export async function* arrayDocuments(
  file: string,
  bytes: AsyncGenerator<Buffer>,
  dtype: IdsDType | undefined,
): AsyncGenerator<Document> {
  const input = new Numbers(file, bytes);
  try {
    const isNumpy = /\.npy(\.(gz|zst))?$/i.test(file);
    const { element, rows, columns } = isNumpy ? await input.header(dtype) : raw(file, dtype);
    for (let row = 0; row < rows; row++) {
      if (columns === undefined && (await input.atEnd())) return;
      const source = rows === 1 ? file : `${file}, row ${row}`;
      const ids = input.take(element, columns ?? Number.POSITIVE_INFINITY, source);
      yield { pieces: [], ids, source, place: { row, byte: 0 } };
      // If the caller did not read it to the end, continue with the next row.
      for await (const _ of ids);
    }
    if (!(await input.atEnd())) throw broken(file, 'it continues beyond its last row');
  } finally {
    await bytes.return(undefined);
  }
}

interface Shape {
  readonly element: Element;
  readonly rows: number;
  /** Undefined: until the end. */
  readonly columns?: number;
}

function raw(file: string, dtype: IdsDType | undefined): Shape {
  if (dtype !== undefined) return { element: dtype, rows: 1 };
  throw new Refusal(
    `${file} contains numbers without a header, whose element type is not given.`,
    'Give it with --ids-dtype uint16 (vocabularies up to 65,536) or --ids-dtype uint32.',
    'corpus/ids-dtype',
  );
}

function broken(file: string, what: string): Refusal {
  return new Refusal(
    `${file} is not an array of token ids: ${what}.`,
    'Write it with numpy.save from an array of uint16, uint32, int32 or int64 of one or two dimensions.',
    'corpus/not-an-array',
  );
}

/** Numbers of a file, read as its bytes arrive. */
class Numbers {
  private rest: Buffer = Buffer.alloc(0);

  constructor(
    private readonly file: string,
    private readonly bytes: AsyncGenerator<Buffer>,
  ) {}

  async header(dtype: IdsDType | undefined): Promise<Shape> {
    const { file } = this;
    const start = await this.some(10);
    if (start.length < 10 || start.toString('latin1', 0, 6) !== '\x93NUMPY')
      throw broken(file, 'it is not a .npy file');
    const long = start[6]! > 1;
    const length = long ? (await this.some(12)).readUInt32LE(8) : start.readUInt16LE(8);
    const from = long ? 12 : 10;
    if (length > LONGEST_HEADER) throw broken(file, 'its header is too long');
    const whole = await this.some(from + length);
    if (whole.length < from + length) throw broken(file, 'it ends within its header');
    this.rest = whole.subarray(from + length);
    const text = whole.toString('latin1', from, from + length);
    const element = DESCRIPTIONS[/'descr': *'([^']*)'/.exec(text)?.[1] ?? ''];
    const shape = /'shape': *\((\d+), *(\d*),?\)/.exec(text);
    if (!element || !shape || !/'fortran_order': *False/.test(text)) throw broken(file, `its header is ${text.trim()}`);
    if (dtype !== undefined && dtype !== element)
      throw broken(file, `its elements are ${element}, but --ids-dtype is ${dtype}`);
    const [first, second] = [Number(shape[1]), shape[2] === '' ? undefined : Number(shape[2])];
    return second === undefined ? { element, rows: 1, columns: first } : { element, rows: first, columns: second };
  }

  /** The next `count` numbers, or as many as there are. */
  async *take(element: Element, count: number, source: string): AsyncGenerator<Int32Array> {
    const size = BYTES[element];
    for (let left = count; left > 0; ) {
      const wanted = Math.min(left, PART);
      const bytes = (await this.some(wanted * size)).subarray(0, wanted * size);
      if (bytes.length < wanted * size && count !== Number.POSITIVE_INFINITY) {
        throw broken(this.file, 'it ends before its last row');
      }
      if (bytes.length % size !== 0) throw broken(this.file, `its length is not a multiple of ${size} bytes`);
      if (bytes.length === 0) return;
      this.rest = this.rest.subarray(bytes.length);
      left -= bytes.length / size;
      yield tokenIds(numbersOf(bytes, element), source, element);
    }
  }

  async atEnd(): Promise<boolean> {
    return (await this.some(1)).length === 0;
  }

  /** At least `count` bytes, or all that there are, without consuming them. */
  private async some(count: number): Promise<Buffer> {
    const parts = [this.rest];
    let length = this.rest.length;
    while (length < count) {
      const { value, done } = await this.bytes.next();
      if (done) break;
      parts.push(value);
      length += value.length;
    }
    this.rest = parts.length === 1 ? this.rest : Buffer.concat(parts);
    return this.rest;
  }
}

function numbersOf(bytes: Buffer, element: Element): ArrayLike<number | bigint> {
  // Typed arrays must start at multiples of their element size.
  const { buffer } = Uint8Array.from(bytes);
  if (element === 'uint16') return new Uint16Array(buffer);
  if (element === 'uint32') return new Uint32Array(buffer);
  return element === 'int32' ? new Int32Array(buffer) : new BigInt64Array(buffer);
}
