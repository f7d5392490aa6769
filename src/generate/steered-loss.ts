import { batchTokens, type Context, hasRow, type LeftOut } from '../corpus/contexts.js';
import { chunkRows, evenChunks, tokenLosses } from '../eval/splice-graph.js';
import { evaluationPositions } from '../eval/splice-pass.js';
import { type Checkpoint, writeModel } from '../lm/checkpoint.js';
import type { Placement } from '../lm/placement.js';
import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession, type Session } from '../onnx/session.js';
import type { RowChanges } from './changes.js';
import { changeFeeds } from './steering-feeds.js';
import { STEERED, type SteeredSae, steeringHook } from './steering-graph.js';

/**
 * Losses of every next token in contexts in which features are changed.
 *
 * Inputs: `tokens` int64 [batch, context]; `rows` and `targets` int64 [rows], flat positions and the tokens that
 * follow; `chunks` int64 [1]; those of steeringHook. Output: `nll` float32 [chunks, 1, chunk] in nats.
 */
function steeredLossGraph(
  checkpoint: Checkpoint,
  context: number,
  placement: Placement,
  saes: readonly SteeredSae[],
): Uint8Array {
  const g = new GraphBuilder('steered-loss');
  const tokens = g.input('tokens', 'int64', ['batch', context]);
  const rows = g.input('rows', 'int64', ['rows']);
  const targets = g.input('targets', 'int64', ['rows']);
  const lm = writeModel(g, checkpoint, context, placement);
  const residual = lm.residual(tokens, steeringHook(g, saes, context));
  const hidden = g.reshape(lm.finalNorm(residual), 1, -1, checkpoint.config.hidden);
  const { nll } = tokenLosses(g, {
    hidden: g.gather(hidden, rows, 1),
    logits: (h, body) => lm.logits(h, body),
    ...{ targets, chunks: g.input('chunks', 'int64', [1]), variants: 1, compared: 1 },
  });
  g.output('nll', nll, 'float32', ['chunks', 1, 'chunk']);
  return g.encode();
}

/** A model for measuring losses on contexts with features changed. */
export class SteeredLoss {
  private constructor(
    private readonly session: Session,
    private readonly vocabulary: number,
    private readonly saes: readonly SteeredSae[],
    private readonly leftOut: LeftOut,
  ) {}

  static async open(
    checkpoint: Checkpoint,
    context: number,
    saes: readonly SteeredSae[],
    settings: { readonly placement: Placement; readonly threads: number; readonly leftOut: LeftOut },
  ): Promise<SteeredLoss> {
    const { placement, threads, leftOut } = settings;
    const graph = steeredLossGraph(checkpoint, context, placement, saes);
    const session = await openSession(graph, { device: placement.device, threads });
    return new SteeredLoss(session, checkpoint.config.vocabulary, saes, leftOut);
  }

  /**
   * −log p of the next tokens that count, in nats, at most `limit` of them. Features are changed where `changes` says,
   * except at excluded tokens.
   */
  async losses(batch: readonly Context[], limit: number, changes: RowChanges): Promise<Float32Array> {
    const { Tensor } = await onnxRuntime();
    const { saes, leftOut, vocabulary } = this;
    const { rows, targets } = evaluationPositions(batch, leftOut, limit);
    if (rows.length === 0) return new Float32Array(0);
    const context = batch[0]!.tokens.length;
    const { chunks, chunk } = evenChunks(rows.length, chunkRows(vocabulary, 1));
    const int64 = (values: readonly number[], length = values.length) => {
      const data = new BigInt64Array(length);
      for (const [i, value] of values.entries()) data[i] = BigInt(value);
      return new Tensor('int64', data, [length]);
    };
    const steered = batch.flatMap((one) =>
      Array.from(one.tokens, (_, position) => Number(hasRow(one, position, leftOut) && changes.at(position))),
    );
    const outputs = await this.session.run({
      ...changeFeeds(
        saes,
        batch.map(() => changes),
        Tensor,
      ),
      tokens: new Tensor('int64', batchTokens(batch, vocabulary), [batch.length, context]),
      [STEERED]: new Tensor('float32', Float32Array.from(steered), [batch.length, context]),
      rows: int64(rows, chunks * chunk),
      targets: int64(targets, chunks * chunk),
      chunks: int64([chunks]),
    });
    return (outputs.nll!.data as Float32Array).slice(0, rows.length);
  }

  release(): Promise<void> {
    return this.session.release();
  }
}
