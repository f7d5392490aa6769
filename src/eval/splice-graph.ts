import { type Checkpoint, writeModel } from '../lm/checkpoint.js';
import { type Hook, hookAt } from '../lm/hooks.js';
import type { Placement } from '../lm/placement.js';
import { GraphBuilder, type Value } from '../onnx/graph.js';
import type { ParameterValues } from '../sae/architecture.js';
import type { ChangeOfSae } from '../sae/feature-changes.js';
import { forward, storedParameters } from '../sae/forward-graph.js';
import type { SaeFiles } from '../sae/saelens.js';
import { changedValue } from './changed-features.js';

/**
 * Variants in the tall batch, by index: the clean run, x replaced by 0, by its mean, by each x̂ (for a transcoder, y by
 * ŷ), and with features changed.
 */
export interface Variants {
  readonly clean: 0;
  readonly zero: 1;
  /** Null if mean ablation was not requested. */
  readonly mean: 2 | null;
  /** Index of the first SAE; the others follow. */
  readonly firstSae: number;
  /** Index of the first SAE with changed features; the others with changes follow, to the last variant. */
  readonly firstChanged: number;
  readonly count: number;
}

export function variantsOf(saes: number, meanAblation: boolean, changed = 0): Variants {
  const firstSae = meanAblation ? 3 : 2;
  const firstChanged = firstSae + saes;
  return { clean: 0, zero: 1, mean: meanAblation ? 2 : null, firstSae, firstChanged, count: firstChanged + changed };
}

/** Outputs of SAE k: per-token figures, float32 [spliced] each, and sums over counted positions. */
export const saeOutputs = (k: number) => ({
  /** |x̂|² */
  reconstruction: `sae${k}/reconstruction`,
  /** x · x̂ */
  product: `sae${k}/product`,
  /** |x − x̂|² */
  error: `sae${k}/error`,
  /** Number of features with f > 0. */
  l0: `sae${k}/l0`,
  /** [d_sae]: counted positions on which the feature is active. */
  active: `sae${k}/active`,
  /** [width of the hook]: Σ u |x − x̂|² / |u|⁴ with u = x − centre, over counted positions. */
  slope: `sae${k}/slope`,
  /** [width of the hook]: Σ (x − x̂)² of each dimension, over counted positions. */
  dimensions: `sae${k}/dimensions`,
});

/** |u|² assigned to a token at the centre, to avoid dividing by 0; its u is 0. */
const TINY = 1e-30;

/** The activations to replace, and which of them count. */
interface Spliced {
  /** [spliced, width of the hook] */
  readonly x: Value;
  /** x − centre */
  readonly u: Value;
  /** |u|², [spliced] */
  readonly spread: Value;
  /** float32 [1, spliced], 1 where a position counts. */
  readonly counted: Value;
}

/** Optional parts of the graph. */
interface SpliceOptions {
  readonly meanAblation?: boolean;
  /** The input hook of each SAE: where it is spliced in, or one that the model computes earlier. */
  readonly inputs?: readonly Hook[];
  /** For each SAE, the features to change in a variant with the rest of x kept; null: none. */
  readonly changes?: readonly (ChangeOfSae | null)[];
}

/**
 * Clean run, ablations and the splice-in of every SAE in one graph: the model runs once up to the hook, the batch
 * becomes [x; 0; centre; x̂₁; x̂₂; …; x′₁; …] there (centre for mean ablation if requested, x′ with features changed if
 * requested), and the rest of the model runs once on the tall batch (docs/explanation/decisions.md). A
 * transcoder reads an earlier hook, which is unchanged: in its variant, too, x there is the model's own.
 *
 * Inputs: `tokens` int64 [batch, context]; `spliced` int64 [spliced], flat positions whose activation is replaced (all
 * but a leading BOS); `counted` float32 [batch, spliced], 1 if a position counts and belongs to the context; `centre`
 * float32 [width]; `rows` and `targets` int64 [rows], flat positions whose next-token losses are computed and the
 * tokens that follow; `chunks` int64 [1], number of equal chunks to split the rows into.
 *
 * Outputs: `nll` [chunks, variants, chunk] and `kl` [chunks, SAEs and changes, chunk], with rows padded to chunks ×
 * chunk; `x_squared` and `spread` [spliced], |x|² and |x − centre|²; `u` [batch, width], Σ (x − centre) over the
 * counted positions of each context; `dimensions` [width], Σ (x − centre)² over the counted positions; and
 * saeOutputs(k) of each SAE, with changedOutput(k) if its features are changed.
 */
export function spliceGraph(
  checkpoint: Checkpoint,
  hook: Hook,
  saes: readonly SaeFiles[],
  context: number,
  placement: Placement,
  { meanAblation = false, inputs = saes.map(() => hook), changes = [] }: SpliceOptions = {},
): Uint8Array {
  const variants = variantsOf(saes.length, meanAblation, changes.filter(Boolean).length);
  const g = new GraphBuilder('splice-in');
  const tokens = g.input('tokens', 'int64', ['batch', context]);
  const positions = g.input('spliced', 'int64', ['spliced']);
  const members = g.input('counted', 'float32', ['batch', 'spliced']);
  const centre = g.input('centre', 'float32', [hook.width]);
  const rows = g.input('rows', 'int64', ['rows']);
  const targets = g.input('targets', 'int64', ['rows']);
  const chunks = g.input('chunks', 'int64', [1]);

  const read = new Map<string, Value>();
  const splice = (value: Value): Value => {
    const flat = g.reshape(value, -1, hook.width);
    const x = g.gather(flat, positions);
    read.set(hook.name, x);
    const u = g.sub(x, centre);
    const spread = g.reduceSumSquare(u, [1]);
    g.output('x_squared', g.reduceSumSquare(x, [1]), 'float32', ['spliced']);
    g.output('spread', spread, 'float32', ['spliced']);
    g.output('u', g.matmul(members, u), 'float32', ['batch', hook.width]);
    const counted = g.reduceSum(members, [0], true);
    g.output('dimensions', ofDimensions(g, u, counted), 'float32', [hook.width]);
    const where = g.op('Unsqueeze', [positions, g.ints(1)]);
    const variant = (replacement: Value) =>
      g.reshape(g.op('ScatterND', [flat, where, replacement]), 1, -1, context, hook.width);
    const zero = g.sub(x, x);
    const tall = [g.reshape(value, 1, -1, context, hook.width), variant(zero)];
    if (meanAblation) tall.push(variant(g.add(zero, centre)));
    const changed: Value[] = [];
    for (const [k, sae] of saes.entries()) {
      const input = read.get(inputs[k]!.name);
      if (input === undefined) throw new Error(`${inputs[k]!.name} is computed after ${hook.name}`);
      const one = { sae, k, w: storedParameters(g, sae, `sae${k}/`) };
      tall.push(variant(reconstruct(g, one, input, { x, u, spread, counted })));
      const own = changes[k];
      if (own) changed.push(variant(changedValue(g, { ...one, changes: own }, input, x)));
    }
    return g.concat([...tall, ...changed], 0);
  };
  const others = new Map(inputs.filter(({ name }) => name !== hook.name).map(({ name, width }) => [name, width]));
  const onHook = (name: string, value: Value): Value => {
    if (name === hook.name) return splice(value);
    read.set(name, g.gather(g.reshape(value, -1, others.get(name)!), positions));
    return value;
  };
  const lm = writeModel(g, checkpoint, context, placement);
  const residual = lm.residual(tokens, hookAt([hook.name, ...others.keys()], onHook));
  const hidden = g.reshape(lm.finalNorm(residual), variants.count, -1, checkpoint.config.hidden);
  const { nll, kl } = tokenLosses(g, {
    hidden: g.gather(hidden, rows, 1),
    logits: (h, body) => lm.logits(h, body),
    targets,
    chunks,
    variants: variants.count,
    compared: variants.firstSae,
  });
  g.output('nll', nll, 'float32', ['chunks', variants.count, 'chunk']);
  if (kl) g.output('kl', kl, 'float32', ['chunks', variants.count - variants.firstSae, 'chunk']);
  return g.encode();
}

/**
 * x̂ of SAE k, with weights read directly from its file; its figures become outputs.
 *
 * @param input activation it reads, [spliced, d_in]
 */
function reconstruct(
  g: GraphBuilder,
  { sae, k, w }: { readonly sae: SaeFiles; readonly k: number; readonly w: ParameterValues },
  input: Value,
  { x, u, spread, counted }: Spliced,
): Value {
  const { f, xHat: reconstruction } = forward(g, sae, w, input);
  const active = g.positive(f);
  const error = g.reduceSumSquare(g.sub(x, reconstruction), [1]);
  const bounded = g.op('Max', [spread, g.scalar(TINY)]);
  const weights = g.mul(counted, g.div(g.div(error, bounded), bounded));
  const output = saeOutputs(k);
  const perToken = (name: string, value: Value) => g.output(name, value, 'float32', ['spliced']);
  perToken(output.reconstruction, g.reduceSumSquare(reconstruction, [1]));
  perToken(output.product, g.reduceSum(g.mul(x, reconstruction), [1]));
  perToken(output.error, error);
  perToken(output.l0, g.reduceSum(active, [1]));
  g.output(output.active, g.reshape(g.matmul(counted, active), sae.dSae), 'float32', [sae.dSae]);
  g.output(output.slope, g.reshape(g.matmul(weights, u), sae.dOut), 'float32', [sae.dOut]);
  g.output(output.dimensions, ofDimensions(g, g.sub(x, reconstruction), counted), 'float32', [sae.dOut]);
  return reconstruction;
}

/** Σ v² of each dimension over the counted rows of v [spliced, d], [d]. */
function ofDimensions(g: GraphBuilder, v: Value, counted: Value): Value {
  return g.reshape(g.matmul(counted, g.mul(v, v)), -1);
}

/** Logits [..., vocabulary] in float32 of hidden states [..., hidden] that are values of `body`. */
type Logits = (hidden: Value, body: GraphBuilder) => Value;

/** Entries of the logits held at a time, over all variants: 128 MiB in float32. */
const LOGITS = 2 ** 25;

/** Entries up to which logits stay in the CPU caches between the operators that read them. */
const CACHED = 2 ** 21;

/** Rows per chunk for an efficient matrix product. */
const EFFICIENT = 64;

/**
 * Max rows per chunk on a GPU: each chunk reads the unembedding again, and 2²⁸ entries of a large vocabulary outweigh
 * it.
 */
const GPU_LOGITS = 2 ** 28;
/** Float32 values as large as a chunk's logits that are alive at the same time: their exponentials, differences, … */
const GPU_COPIES = 6;

/**
 * Max rows per chunk for a vocabulary and a number of variants.
 *
 * @param free free bytes of a GPU's memory once the weights are loaded, half of which passes leave to the logits;
 * undefined on a CPU, or if unknown
 */
export function chunkRows(vocabulary: number, variants: number, free?: number): number {
  const rowsWithin = (entries: number) => Math.max(1, Math.floor(entries / (vocabulary * variants)));
  if (free !== undefined) return rowsWithin(Math.max(LOGITS, Math.min(GPU_LOGITS, free / 2 / (4 * GPU_COPIES))));
  return Math.min(rowsWithin(LOGITS), Math.max(EFFICIENT, rowsWithin(CACHED)));
}

/** Splits rows into equal chunks of at most `most`, with the least padding that equal chunks allow. */
export function evenChunks(rows: number, most: number): { chunks: number; chunk: number } {
  const chunks = Math.ceil(rows / most);
  return { chunks, chunk: chunks === 0 ? 0 : Math.ceil(rows / chunks) };
}

interface LossInputs {
  /** float32 [variants, rows, hidden] after the final norm; variant 0 is the clean run. */
  readonly hidden: Value;
  /** The model's head, called once with the Loop's body. */
  readonly logits: Logits;
  /** int64 [rows], the tokens that follow; rows must be a multiple of `chunks`. */
  readonly targets: Value;
  /** int64 [1], number of chunks; none if there are no rows. */
  readonly chunks: Value;
  readonly variants: number;
  /** The first variant to compare with the clean run; all later ones are compared too. */
  readonly compared: number;
}

/**
 * Per-token losses of several variants of one batch, chunk by chunk in a Loop, so that the logits of the whole batch
 * never exist at once (a vocabulary of 256k would need a gigabyte per thousand tokens).
 *
 * @returns `nll` float32 [chunks, variants, chunk], −log p(target), and `kl` float32 [chunks, variants − compared,
 * chunk], KL(variant 0 ‖ variant), null if no variant is compared; in nats
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
