import type { GraphBuilder, Value } from '../onnx/graph.js';

/** Logits [..., vocabulary] in float32 of hidden states [..., hidden] that are values of `body`. */
export type Logits = (hidden: Value, body: GraphBuilder) => Value;

/** Entries of the logits that exist at one time, over all variants: 128 MiB in float32. */
const LOGITS = 2 ** 25;

/** Entries up to which logits stay in the processor's caches between the operators that read them. */
const CACHED = 2 ** 21;

/** Rows of a chunk that make a matrix product efficient. */
const EFFICIENT = 64;

/** Rows a chunk at most, for a vocabulary and a number of variants. */
export function chunkRows(vocabulary: number, variants: number): number {
  const rowsWithin = (entries: number) => Math.max(1, Math.floor(entries / (vocabulary * variants)));
  return Math.min(rowsWithin(LOGITS), Math.max(EFFICIENT, rowsWithin(CACHED)));
}

/** Cuts rows into chunks of one size, none longer than `most`: the least padding that equal chunks allow. */
export function evenChunks(rows: number, most: number): { chunks: number; chunk: number } {
  const chunks = Math.ceil(rows / most);
  return { chunks, chunk: chunks === 0 ? 0 : Math.ceil(rows / chunks) };
}

export interface LossInputs {
  /** float32 [variants, rows, hidden] after the final norm; variant 0 is the clean run. */
  readonly hidden: Value;
  /** The model's head, called once with the Loop's body. */
  readonly logits: Logits;
  /** int64 [rows], the tokens that follow; rows must be a multiple of `chunks`. */
  readonly targets: Value;
  /** int64 [1], number of chunks; none where there are no rows. */
  readonly chunks: Value;
  readonly variants: number;
  /** First of the variants, to the last, that are compared with the clean run; none from `variants` on. */
  readonly compared: number;
}

/**
 * Per-token losses of several variants of one batch, chunk by chunk in a Loop, so that the logits of the whole batch
 * never exist (a vocabulary of 256k would need a gigabyte a thousand tokens).
 *
 * @returns `nll` float32 [chunks, variants, chunk], −log p(target), and `kl` float32 [chunks, variants − compared,
 *   chunk], KL(variant 0 ‖ variant), null where no variant is compared; in nats
 */
export function tokenLosses(
  g: GraphBuilder,
  { hidden, logits, targets, chunks, variants, compared }: LossInputs,
): { nll: Value; kl: Value | null } {
  const chunk = g.div(g.op('Shape', [targets]), g.op('Max', [chunks, g.ints(1)]));

  const body = g.body('chunk');
  const index = body.input('index', 'int64', []);
  const condition = body.input('condition', 'bool', []);
  const start = body.mul(body.reshape(index, 1), chunk);
  const end = body.add(start, chunk);
  const h = body.op('Slice', [hidden, start, end, body.ints(1)]);
  const target = body.op('Slice', [targets, start, end, body.ints(0)]);
  const logP = body.op('LogSoftmax', [logits(h, body)], { axis: -1 });
  const targetIndex = body.op('Expand', [body.reshape(target, 1, -1, 1), body.ints(variants, 1, 1)]);
  const picked = body.op('GatherElements', [logP, targetIndex], { axis: 2 });
  body.output('condition_out', condition, 'bool', []);
  body.output('nll', body.reshape(body.op('Neg', [picked]), variants, -1), 'float32', [variants, 'chunk']);
  if (compared < variants) {
    const from = (first: number, end: number) =>
      body.op('Slice', [logP, body.ints(first), body.ints(end), body.ints(0)]);
    const clean = from(0, 1);
    const divergence = body.mul(body.op('Exp', [clean]), body.sub(clean, from(compared, variants)));
    body.output('kl', body.reduceSum(divergence, [2]), 'float32', [variants - compared, 'chunk']);
  }

  const outputs = compared < variants ? 2 : 1;
  const [nll, kl] = g.ops('Loop', [g.op('Squeeze', [chunks]), ''], outputs, { body });
  return { nll: nll!, kl: kl ?? null };
}
