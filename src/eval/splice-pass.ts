import { batchTokens, type Context, hasRow, type LeftOut } from '../corpus/contexts.js';
import type { ModelConfig } from '../lm/family.js';
import { blockParameters, contextsAtOnce } from '../lm/pass.js';
import { type Device, onnxRuntime, type Session } from '../onnx/session.js';
import { evenChunks } from './splice-graph.js';

/** One run of the splice-in graph, with access to its results. */
export interface Pass extends Positions {
  readonly contexts: number;
  /** An output by name. */
  data(name: string): Float32Array;
  /** Loss of the i-th row, from an output `nll` or `kl` with `of` variants. */
  loss(output: Float32Array, variant: number, of: number, i: number): number;
}

/** Inputs of a pass. */
interface PassSettings {
  readonly leftOut: LeftOut;
  /** Max positions to count. */
  readonly limit: number;
  readonly vocabulary: number;
  /** Max rows per chunk of the losses. */
  readonly chunkRows: number;
  readonly centre: Float32Array;
  /** For each flat position, whether its activation is too long to be replaced; none if not given. */
  readonly long?: readonly boolean[];
}

/** Runs a batch of contexts of one length; null if none of its positions counts. */
export async function runPass(
  session: Session,
  batch: readonly Context[],
  { leftOut, limit, vocabulary, chunkRows, centre, long }: PassSettings,
): Promise<Pass | null> {
  const { Tensor } = await onnxRuntime();
  const positions = evaluationPositions(batch, leftOut, limit, long);
  const { spliced, counted, rows, targets } = positions;
  if (counted.length === 0) return null;
  const { chunks, chunk } = evenChunks(rows.length, chunkRows);
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

/** Which positions of a batch are spliced, which count, and the tokens that follow. */
interface Positions {
  /** Flat positions of tokens that are not left out: their activations are replaced. */
  readonly spliced: number[];
  /** Indices into `spliced` of the positions that count. */
  readonly counted: number[];
  /** Flat position and following token of each position that counts. */
  readonly rows: number[];
  readonly targets: number[];
  /** Positions that do not count only because of their norm. */
  readonly kept: number;
}

/**
 * BOS keeps its clean activation in every variant: SAEs are not trained on it (its norm is far from all others), and
 * zero-ablating it would break attention in ways unrelated to the SAE. The same applies to other excluded tokens and
 * roles. A position counts if neither it nor the position it predicts is left out; at most `limit` count. One that is
 * too long also keeps its activation and does not count; the position that predicts its token does.
 */
export function evaluationPositions(
  batch: readonly Context[],
  leftOut: LeftOut,
  limit: number,
  long?: readonly boolean[],
): Positions {
  const positions = { spliced: [] as number[], counted: [] as number[], rows: [] as number[], targets: [] as number[] };
  let kept = 0;
  for (const [b, context] of batch.entries()) {
    const { tokens } = context;
    for (let t = 0; t < tokens.length; t++) {
      if (!hasRow(context, t, leftOut)) continue;
      const at = b * tokens.length + t;
      const next = tokens[t + 1];
      const counts = next !== undefined && hasRow(context, t + 1, leftOut) && positions.counted.length < limit;
      if (long?.[at]) {
        if (counts) kept++;
        continue;
      }
      if (counts) {
        positions.counted.push(positions.spliced.length);
        positions.rows.push(at);
        positions.targets.push(next);
      }
      positions.spliced.push(at);
    }
  }
  return { ...positions, kept };
}

/** Number of positions of a context that count. */
export function countPositions(context: Context, leftOut: LeftOut): number {
  return evaluationPositions([context], leftOut, Number.POSITIVE_INFINITY).counted.length;
}

/** Max entries of the widest value of a pass: 768 MiB in float32. */
const WIDEST = 3 * 2 ** 26;

/**
 * Contexts per forward pass, so that memory is bounded whatever the batch and the SAEs. The widest value is either the
 * model's own over all variants, or the features of the largest SAE.
 *
 * @param modelWidth entries per token of the model's widest value
 */
export function contextsInMemory(modelWidth: number, context: number, variants: number, dSae = 0): number {
  return Math.max(1, Math.floor(WIDEST / (context * Math.max(modelWidth * variants, dSae))));
}

/** The size of an evaluation's pass. */
interface EvaluationPass {
  /** Block of the hook; every variant runs through the blocks above. */
  readonly layer: number;
  readonly variants: number;
  readonly saes: readonly { readonly dIn: number; readonly dSae: number }[];
  /** Tokens per context. */
  readonly context: number;
  readonly device: Device | undefined;
}

/** Max contexts per pass, limited by memory, and on a CPU by time. */
export function evaluationContexts(config: ModelConfig, pass: EvaluationPass): number {
  const { layer, variants, saes, context, device } = pass;
  const { hidden, vocabulary } = config;
  const below = layer + 1;
  const blocks = blockParameters(config, 0, below) + variants * blockParameters(config, below);
  const dictionaries = saes.reduce((sum, { dIn, dSae }) => sum + 2 * dIn * dSae, 0);
  const parameters = blocks + variants * hidden * vocabulary + dictionaries;
  const widest = Math.max(0, ...saes.map(({ dSae }) => dSae));
  return Math.min(
    contextsInMemory(config.costs.widest, context, variants, widest),
    contextsAtOnce(parameters, context, device),
  );
}
