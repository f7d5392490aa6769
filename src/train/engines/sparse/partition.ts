import { padded } from './slice-plan.js';

/** Features [first, last) of worker `index`: parts as equal as can be. */
export function featuresOf(dSae: number, index: number, workers: number): readonly [first: number, last: number] {
  return [Math.floor((dSae * index) / workers), Math.floor((dSae * (index + 1)) / workers)];
}

/** How an array of the state lies in a worker's memory. */
type Layout = 'columns' | 'rows' | 'numbers' | 'whole';

function layoutOf(name: string): Layout {
  const parameter = name.replace(/^[mv]\//, '');
  if (parameter === 'W_enc') return 'columns';
  if (parameter === 'W_dec') return 'rows';
  return parameter === 'b_dec' ? 'whole' : 'numbers';
}

/** The part of an array that belongs to features [first, last): W_enc transposed, rows padded. */
export function takePart(
  name: string,
  values: Float32Array,
  dIn: number,
  dSae: number,
  [first, last]: readonly [number, number],
): Float32Array<ArrayBuffer> {
  const d = padded(dIn);
  const layout = layoutOf(name);
  if (layout === 'numbers') return values.slice(first, last);
  if (layout === 'whole') {
    const part = new Float32Array(d);
    part.set(values);
    return part;
  }
  const part = new Float32Array((last - first) * d);
  if (layout === 'rows') {
    for (let j = first; j < last; j++) part.set(values.subarray(j * dIn, (j + 1) * dIn), (j - first) * d);
    return part;
  }
  for (let i = 0; i < dIn; i++) {
    const row = values.subarray(i * dSae, (i + 1) * dSae);
    for (let j = first; j < last; j++) part[(j - first) * d + i] = row[j]!;
  }
  return part;
}

/** Writes such a part back into the whole array. */
export function putPart(
  name: string,
  part: Float32Array,
  values: Float32Array,
  dIn: number,
  dSae: number,
  [first, last]: readonly [number, number],
): void {
  const d = padded(dIn);
  const layout = layoutOf(name);
  if (layout === 'numbers') values.set(part, first);
  else if (layout === 'whole') values.set(part.subarray(0, dIn));
  else if (layout === 'rows') {
    for (let j = first; j < last; j++) values.set(part.subarray((j - first) * d, (j - first) * d + dIn), j * dIn);
  } else {
    for (let i = 0; i < dIn; i++) {
      const row = values.subarray(i * dSae, (i + 1) * dSae);
      for (let j = first; j < last; j++) row[j] = part[(j - first) * d + i]!;
    }
  }
}
