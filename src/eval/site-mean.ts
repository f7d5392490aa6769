import { batchTokens, type Context, type LeftOut } from '../corpus/contexts.js';
import { type Checkpoint, writeModel } from '../lm/checkpoint.js';
import { type Hook, hookAt } from '../lm/hooks.js';
import { blockParameters, contextsAtOnce } from '../lm/pass.js';
import type { Placement } from '../lm/placement.js';
import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession, type Session, type SessionOptions } from '../onnx/session.js';
import type { LongPositions } from './long-positions.js';
import { evaluationPositions } from './splice-pass.js';

/**
 * The mean of x at a hook over counted positions. The model runs once, as far as the hook: a fraction of an evaluation's
 * pass.
 */
export class SiteMean {
  /** Positions that have counted. */
  positions = 0;
  private readonly sum: Float64Array;

  private constructor(
    private readonly session: Session,
    private readonly vocabulary: number,
    private readonly passContexts: number,
    width: number,
  ) {
    this.sum = new Float64Array(width);
  }

  static async open(
    checkpoint: Checkpoint,
    hook: Hook,
    context: number,
    placement: Placement,
    options: SessionOptions,
  ): Promise<SiteMean> {
    const session = await openSession(sumGraph(checkpoint, hook, context, placement), options);
    const { config } = checkpoint;
    const passContexts = contextsAtOnce(blockParameters(config, 0, hook.layer + 1), context, options.device);
    return new SiteMean(session, config.vocabulary, passContexts, hook.width);
  }

  /** Adds at most `limit` positions of a batch; returns how many counted. */
  async add(
    batch: readonly Context[],
    leftOut: LeftOut,
    limit: number,
    passed: (counted: number) => void | Promise<void>,
    long?: LongPositions,
  ): Promise<number> {
    let counted = 0;
    for (let i = 0; i < batch.length && counted < limit; i += this.passContexts) {
      counted += await this.run(batch.slice(i, i + this.passContexts), leftOut, limit - counted, long);
      await passed(counted);
    }
    return counted;
  }

  /** [width] */
  mean(): Float32Array {
    return Float32Array.from(this.sum, (sum) => sum / Math.max(1, this.positions));
  }

  release(): Promise<void> {
    return this.session.release();
  }

  private async run(
    contexts: readonly Context[],
    leftOut: LeftOut,
    limit: number,
    long?: LongPositions,
  ): Promise<number> {
    const { rows } = evaluationPositions(contexts, leftOut, limit, await long?.of(contexts));
    if (rows.length === 0) return 0;
    const { Tensor } = await onnxRuntime();
    const context = contexts[0]!.tokens.length;
    const members = new Float32Array(contexts.length * rows.length);
    for (const [i, row] of rows.entries()) members[Math.floor(row / context) * rows.length + i] = 1;
    const { sums } = await this.session.run({
      tokens: new Tensor('int64', batchTokens(contexts, this.vocabulary), [contexts.length, context]),
      rows: new Tensor('int64', BigInt64Array.from(rows, BigInt), [rows.length]),
      members: new Tensor('float32', members, [contexts.length, rows.length]),
    });
    for (const [i, sum] of (sums!.data as Float32Array).entries()) this.sum[i % this.sum.length]! += sum;
    this.positions += rows.length;
    return rows.length;
  }
}

/** Sums of x over the positions of each context: a sum over all of them would round in float32. */
function sumGraph(checkpoint: Checkpoint, hook: Hook, context: number, placement: Placement): Uint8Array {
  const g = new GraphBuilder('site-mean');
  const tokens = g.input('tokens', 'int64', ['batch', context]);
  const rows = g.input('rows', 'int64', ['rows']);
  const members = g.input('members', 'float32', ['batch', 'rows']);
  const record = hookAt([hook.name], (_, value) => {
    const x = g.gather(g.reshape(value, -1, hook.width), rows);
    g.output('sums', g.matmul(members, x), 'float32', ['batch', hook.width]);
    return value;
  });
  writeModel(g, checkpoint, context, placement).residual(tokens, record);
  return g.encode();
}
