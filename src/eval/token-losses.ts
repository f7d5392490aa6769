import type { GraphBuilder, Value } from '../onnx/graph.js';

/** Logits [..., vocabulary] in float32 of hidden states [..., hidden] that are values of `body`. */
export type Logits = (hidden: Value, body: GraphBuilder) => Value;

/** Entries of the logits that exist at one time, over all variants: 128 MiB in float32. */
const LOGITS = 2 ** 25;

/** Rows of a chunk, at most: more make no product quicker, and the last chunk is padded. */
const ROWS = 4096;

/** Rows a chunk, for a vocabulary and a number of variants. */
export function chunkRows(vocabulary: number, variants: number): number {
  return Math.min(ROWS, Math.max(1, Math.floor(LOGITS / (vocabulary * variants))));
}

/**
 * Per-token losses of several variants of one batch, chunk by chunk in a Loop, so that the logits of the whole batch
 * never exist (a vocabulary of 256k would need a gigabyte a thousand tokens).
 *
 * @param hidden float32 [variants, rows, hidden] after the final norm; variant 0 is the clean run
 * @param logits the model's head, called once with the Loop's body
 * @param targets int64 [rows], the tokens that follow; rows must be a multiple of `chunk`
 * @returns float32 [rows / chunk, variants, chunk]: `nll` −log p(target), and `kl` KL(variant 0 ‖ variant), in nats
 */
export function tokenLosses(
  g: GraphBuilder,
  hidden: Value,
  logits: Logits,
  targets: Value,
  variants: number,
  chunk: number,
): { nll: Value; kl: Value } {
  const rows = g.op('Shape', [targets]);
  const chunks = g.op('Squeeze', [g.div(rows, g.ints(chunk))]);

  const body = g.body('chunk');
  const index = body.input('index', 'int64', []);
  const condition = body.input('condition', 'bool', []);
  const start = body.reshape(body.mul(index, body.int(chunk)), 1);
  const end = body.add(start, body.ints(chunk));
  const h = body.op('Slice', [hidden, start, end, body.ints(1)]);
  const target = body.op('Slice', [targets, start, end, body.ints(0)]);
  const logP = body.op('LogSoftmax', [logits(h, body)], { axis: -1 });
  const targetIndex = body.op('Expand', [body.reshape(target, 1, chunk, 1), body.ints(variants, chunk, 1)]);
  const picked = body.op('GatherElements', [logP, targetIndex], { axis: 2 });
  const cleanLogP = body.op('Slice', [logP, body.ints(0), body.ints(1), body.ints(0)]);
  const divergence = body.mul(body.op('Exp', [cleanLogP]), body.sub(cleanLogP, logP));
  body.output('condition_out', condition, 'bool', []);
  body.output('nll', body.reshape(body.op('Neg', [picked]), variants, chunk), 'float32', [variants, chunk]);
  body.output('kl', body.reduceSum(divergence, [2]), 'float32', [variants, chunk]);

  const [nll, kl] = g.ops('Loop', [chunks, ''], 2, { body });
  return { nll: nll!, kl: kl! };
}
