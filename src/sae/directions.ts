import { Thread } from '../progress/thread.js';
import { Generator, Purpose } from '../random/generator.js';
import type { Sizes } from './sae.js';

/** Random initial directions of a dictionary. */
export interface Directions {
  /** [d_in, d_sae] */
  readonly W_enc: Float32Array;
  /** [d_sae, d_out], rows of norm 1 */
  readonly W_dec: Float32Array;
}

/** Requests unit vectors for features [first, first + count), each of length `width`. */
export interface DirectionsWanted {
  readonly seed: number;
  /** Number of normal numbers before those of feature 0. */
  readonly before: number;
  readonly first: number;
  readonly count: number;
  readonly width: number;
}

export interface DrawnDirections {
  /** [count, width] */
  readonly rows: Float32Array<ArrayBuffer>;
  /** [width, count] */
  readonly columns: Float32Array<ArrayBuffer>;
}

/** Features per piece. */
const PIECE = 1024;
/** Drawing this many numbers takes less time than starting a thread. */
const FEW = 2 ** 24;
/** Block size for transposing a matrix within the CPU cache. */
const SQUARE = 32;

/**
 * Features [first, first + count), independently of where the others are drawn: a normal number uses two of the
 * generator's.
 */
export function drawDirections({ seed, before, first, count, width }: DirectionsWanted): DrawnDirections {
  const random = new Generator(seed, Purpose.initialisation);
  random.skip(2 * (before + first * width));
  const [rows, columns] = [new Float32Array(count * width), new Float32Array(count * width)];
  const row = new Float64Array(width);
  for (let j = 0; j < count; j++) {
    random.normals(row);
    const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
    for (let i = 0; i < width; i++) rows[j * width + i] = row[i]! / norm;
  }
  for (let j0 = 0; j0 < count; j0 += SQUARE) {
    for (let i0 = 0; i0 < width; i0 += SQUARE) {
      const [j1, i1] = [Math.min(count, j0 + SQUARE), Math.min(width, i0 + SQUARE)];
      for (let i = i0; i < i1; i++) for (let j = j0; j < j1; j++) columns[i * count + j] = rows[j * width + i]!;
    }
  }
  return { rows, columns };
}

/** The draws for the decoder's rows, and for the encoder's columns, which are the same if the widths are equal. */
function pieces({ dIn, dOut, dSae }: Sizes, seed: number) {
  const found: { readonly wanted: DirectionsWanted; readonly rows: boolean; readonly columns: boolean }[] = [];
  const same = dIn === dOut;
  for (const side of same ? ['both'] : ['rows', 'columns']) {
    // An input of a different width needs its own directions.
    const [width, before] = side === 'columns' ? [dIn, dSae * dOut] : [dOut, 0];
    for (let first = 0; first < dSae; first += PIECE) {
      const wanted = { seed, before, first, count: Math.min(PIECE, dSae - first), width };
      found.push({ wanted, rows: side !== 'columns', columns: side !== 'rows' });
    }
  }
  return found;
}

type Piece = ReturnType<typeof pieces>[number];

function place(into: Directions, dSae: number, { wanted, rows, columns }: Piece, drawn: DrawnDirections): void {
  const { first, count, width } = wanted;
  if (rows) into.W_dec.set(drawn.rows, first * width);
  if (!columns) return;
  for (let i = 0; i < width; i++) {
    into.W_enc.set(drawn.columns.subarray(i * count, (i + 1) * count), i * dSae + first);
  }
}

const nothingDrawn = ({ dIn, dOut, dSae }: Sizes): Directions => ({
  W_enc: new Float32Array(dIn * dSae),
  W_dec: new Float32Array(dSae * dOut),
});

/** Random unit rows for the decoder, and their transpose for the encoder. */
export function directions(sizes: Sizes, seed: number): Directions {
  const all = nothingDrawn(sizes);
  for (const piece of pieces(sizes, seed)) place(all, sizes.dSae, piece, drawDirections(piece.wanted));
  return all;
}

/** The same numbers, drawn by several threads if there are many. */
export async function directionsInThreads(sizes: Sizes, seed: number, threads: number, few = FEW): Promise<Directions> {
  if (sizes.dSae * (sizes.dIn + sizes.dOut) < few) return directions(sizes, seed);
  const all = nothingDrawn(sizes);
  const left = pieces(sizes, seed);
  const drawing = Array.from({ length: Math.min(threads, left.length) }, async () => {
    const thread = new Thread<DirectionsWanted, DrawnDirections>(new URL('directions-worker.js', import.meta.url), {
      ...{ name: 'A thread that draws directions', data: undefined },
    });
    try {
      for (let piece = left.shift(); piece; piece = left.shift()) {
        thread.ask(piece.wanted);
        place(all, sizes.dSae, piece, await thread.reply());
      }
    } finally {
      await thread.terminate();
    }
  });
  await Promise.all(drawing);
  return all;
}
