import { type ActivationDType, FORMAT, type Manifest, VERSION, writeManifest } from '../src/activations/manifest.js';
import { allocateRows, type Rows } from '../src/activations/rows.js';
import { StoreWriter, Window } from '../src/activations/store-writer.js';
import { Generator } from '../src/random/generator.js';

interface StoreOptions {
  readonly dtype?: ActivationDType;
  /** Rows of a shard, and of a window. */
  readonly shardRows?: number;
  readonly windowRows?: number;
}

/** A store of normal activations, windows and shards as harvest makes them. */
export async function makeStore(
  directory: string,
  d: number,
  rows: number,
  { dtype = 'float16', shardRows = 65_536, windowRows = rows }: StoreOptions = {},
): Promise<void> {
  const manifest: Manifest = {
    ...{ format: FORMAT, version: VERSION, model: { name: 'm', fingerprint: 'f' }, hook: 'blocks.0.hook_resid_post' },
    ...{ d_in: d, dtype, context: 128, bos_token_id: 2, prepend_bos: true, corpus: 'c', text_field: 't' },
    ...{ seed: 0, batch: 16, rows_per_shard: shardRows, window_batches: 1, rows_wanted: rows, rows: 0 },
    ...{ mean_norm: null, complete: false, shards: [], contexts: [], partial: null },
  };
  await writeManifest(directory, manifest);
  const writer = new StoreWriter(directory, manifest);
  const random = new Generator(3);
  // Rows are drawn from a table of values: what they are does not matter to the time, and drawing each is slow.
  const normal = Float32Array.from({ length: 2 ** 16 }, () => random.normal());
  const table = dtype === 'float32' ? normal : Uint16Array.from(normal, dtype === 'float16' ? toHalf : toBfloat16);
  for (let first = 0, index = 0; first < rows; first += windowRows, index++) {
    const window = new Window(index, d, dtype);
    const end = Math.min(rows, first + windowRows);
    for (let done = first; done < end; done += 10_000) {
      const piece: Rows = allocateRows(Math.min(10_000, end - done), d, dtype);
      for (let i = 0; i < piece.activation.length; i++) piece.activation[i] = table[random.next() & 0xffff]!;
      window.add(piece, new Float32Array(piece.token.length).fill(Math.sqrt(d)));
    }
    await writer.writeWindow(window);
  }
}

/** Nearest float16 of a normal number of moderate size, by its bits. */
function toHalf(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  return ((bits >>> 16) & 0x8000) | (Math.max(0, ((bits >>> 23) & 0xff) - 112) << 10) | ((bits >>> 13) & 0x3ff);
}

/** The bfloat16 towards zero, by its bits. */
function toBfloat16(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16;
}
