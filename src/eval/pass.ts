import { batchTokens, type Context, type LeftOut } from '../corpus/contexts.js';
import { onnxRuntime, type Session } from '../onnx/session.js';
import { evaluationPositions, type Positions } from './positions.js';
import { evenChunks } from './token-losses.js';

/** One run of the splice-in graph, and how to read what came out. */
export interface Pass extends Positions {
  readonly contexts: number;
  /** An output by name. */
  data(name: string): Float32Array;
  /** The loss of the i-th row, of an output `nll` or `kl` that has `of` variants. */
  loss(output: Float32Array, variant: number, of: number, i: number): number;
}

/** What a pass is run with. */
export interface PassSettings {
  readonly leftOut: LeftOut;
  /** Positions that count, at most. */
  readonly limit: number;
  readonly vocabulary: number;
  /** Rows a chunk of the losses, at most; 0: no losses are wanted. */
  readonly chunkRows: number;
  readonly centre: Float32Array;
}

/** Runs a batch of contexts of one length; null where no position of it counts. */
export async function runPass(
  session: Session,
  batch: readonly Context[],
  { leftOut, limit, vocabulary, chunkRows, centre }: PassSettings,
): Promise<Pass | null> {
  const { Tensor } = await onnxRuntime();
  const positions = evaluationPositions(batch, leftOut, limit);
  const { spliced, counted, rows, targets } = positions;
  if (counted.length === 0) return null;
  const { chunks, chunk } = chunkRows > 0 ? evenChunks(rows.length, chunkRows) : { chunks: 0, chunk: 0 };
  const int64 = (values: readonly number[], length = values.length) => {
    const data = new BigInt64Array(length);
    for (const [i, value] of values.slice(0, length).entries()) data[i] = BigInt(value);
    return new Tensor('int64', data, [length]);
  };
  const context = batch[0]!.tokens.length;
  const members = new Float32Array(batch.length * spliced.length);
  for (const [i, at] of counted.entries()) members[Math.floor(rows[i]! / context) * spliced.length + at] = 1;
  const outputs = await session.run({
    tokens: new Tensor('int64', batchTokens(batch, vocabulary), [batch.length, context]),
    spliced: int64(spliced),
    counted: new Tensor('float32', members, [batch.length, spliced.length]),
    centre: new Tensor('float32', centre, [centre.length]),
    rows: int64(rows, chunks * chunk),
    targets: int64(targets, chunks * chunk),
    chunks: int64([chunks]),
  });
  return {
    ...positions,
    contexts: batch.length,
    data: (name) => outputs[name]!.data as Float32Array,
    loss: (output, variant, of, i) => output[(Math.floor(i / chunk) * of + variant) * chunk + (i % chunk)]!,
  };
}
