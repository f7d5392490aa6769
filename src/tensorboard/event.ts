/**
 * The byte format read by TensorBoard: the fields of tensorflow.Event and its Summary that are used here (event.proto,
 * summary.proto and tensor.proto of TensorFlow), in Protocol Buffers encoding.
 */

/** A histogram: bin i has edges[i] ≤ value < edges[i + 1]. */
export interface Bins {
  /** Ascending, one more than counts. */
  readonly edges: readonly number[];
  readonly counts: readonly number[];
}

/** A value under a tag. */
export type EventPoint =
  | { readonly tag: string; readonly value: number }
  | { readonly tag: string; readonly bins: Bins }
  | { readonly tag: string; readonly text: string };

/** Wire types of the format. */
const [VARINT, FIXED64, BYTES, FIXED32] = [0, 1, 2, 5] as const;

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

const key = (field: number, type: number) => varint(field * 8 + type);

/** A non-negative integer. */
const whole = (field: number, value: number) => Buffer.concat([key(field, VARINT), varint(value)]);

const bytesOf = (field: number, bytes: Uint8Array) => Buffer.concat([key(field, BYTES), varint(bytes.length), bytes]);

const message = (field: number, ...fields: readonly Buffer[]) => bytesOf(field, Buffer.concat(fields));

const text = (field: number, value: string) => bytesOf(field, Buffer.from(value));

function doubles(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  for (const [i, value] of values.entries()) bytes.writeDoubleLE(value, 8 * i);
  return bytes;
}

const double = (field: number, value: number) => Buffer.concat([key(field, FIXED64), doubles([value])]);

function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, FIXED32), bytes]);
}

/** Seconds since 1970, the time format of events. */
const wallTime = () => double(1, Date.now() / 1000);

/** The first event of every file, which identifies the format. */
export const versionEvent = (): Buffer => Buffer.concat([wallTime(), text(3, 'brain.Event:2')]);

/**
 * The start of a session: an open reader drops its data of `step` and later steps.
 *
 * @param note stored with it
 */
export function sessionEvent(step: number, note: string): Buffer {
  const started = 1;
  return Buffer.concat([wallTime(), whole(2, step), message(7, whole(1, started), text(3, note))]);
}

/** Points of one step. */
export function summaryEvent(step: number, points: readonly EventPoint[]): Buffer {
  return Buffer.concat([wallTime(), whole(2, step), message(5, ...points.map((point) => message(1, ...value(point))))]);
}

/** Fields of a Summary.Value. */
function value(point: EventPoint): Buffer[] {
  const tag = text(1, point.tag);
  if ('value' in point) return [tag, float(2, point.value)];
  if ('bins' in point) return [tag, message(5, ...histogram(point.bins))];
  const [string, tensors] = [7, 2];
  const shape = message(2, message(2, whole(1, 1)));
  return [
    tag,
    message(8, whole(1, string), shape, text(8, point.text)),
    message(9, message(1, text(1, 'text')), whole(4, tensors)),
  ];
}

/** Fields of a HistogramProto; its sums are computed from the bins' midpoints. */
function histogram({ edges, counts }: Bins): Buffer[] {
  const [first, last] = [counts.findIndex((count) => count > 0), counts.findLastIndex((count) => count > 0)];
  if (first < 0) return [];
  const shown = counts.slice(first, last + 1);
  const sum = (power: number) =>
    shown.reduce((total, count, i) => total + count * ((edges[first + i]! + edges[first + i + 1]!) / 2) ** power, 0);
  return [
    double(1, edges[first]!),
    double(2, edges[last + 1]!),
    double(3, sum(0)),
    double(4, sum(1)),
    double(5, sum(2)),
    bytesOf(6, doubles(edges.slice(first + 1, last + 2))),
    bytesOf(7, doubles(shown)),
  ];
}

/** Parsed parts of an event: its step, and the note of a session start. */
export interface EventRead {
  readonly step: number;
  readonly note?: string;
}

/**
 * Parses an event that was written here.
 *
 * @returns undefined if the bytes are not an event
 */
export function readEvent(event: Buffer): EventRead | undefined {
  let step = 0;
  let note: string | undefined;
  for (const { field, content } of fieldsOf(event) ?? [{ field: -1, content: 0 }]) {
    if (field === -1) return undefined;
    if (field === 2 && typeof content === 'number') step = content;
    if (field === 7 && typeof content === 'object') {
      const fields = fieldsOf(content);
      const found = fields?.find((inner) => inner.field === 3)?.content;
      if (typeof found === 'object') note = found.toString('utf8');
    }
  }
  return { step, ...(note !== undefined && { note }) };
}

interface WireField {
  readonly field: number;
  readonly content: number | Buffer;
}

function fieldsOf(bytes: Buffer): WireField[] | undefined {
  const fields: WireField[] = [];
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (let power = 1; at < bytes.length && power < 2 ** 53; power *= 0x80) {
      const byte = bytes[at++]!;
      value += (byte & 0x7f) * power;
      if (byte < 0x80) return value;
    }
    return Number.NaN;
  };
  while (at < bytes.length) {
    const head = number();
    const [field, type] = [Math.floor(head / 8), head % 8];
    if (type === VARINT) fields.push({ field, content: number() });
    else {
      const length = type === FIXED64 ? 8 : type === FIXED32 ? 4 : type === BYTES ? number() : Number.NaN;
      if (!(length <= bytes.length - at)) return undefined;
      fields.push({ field, content: bytes.subarray(at, at + length) });
      at += length;
    }
    if (Number.isNaN(fields.at(-1)!.content)) return undefined;
  }
  return fields;
}
