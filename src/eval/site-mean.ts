import { batchTokens, type Context, type LeftOut } from '../corpus/contexts.js';
import { type Checkpoint, writeModel } from '../lm/checkpoint.js';
import { type Hook, hookAt } from '../lm/hooks.js';
import { blockParameters, contextsAtOnce } from '../lm/pass.js';
import type { Placement } from '../lm/placement.js';
import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession, type Session, type SessionOptions } from '../onnx/session.js';
import { type NormRule, normOutput } from './long-positions.js';
import { evaluationPositions } from './splice-pass.js';

/**
 * The mean of x at a hook over counted positions. Runs the model once, up to the hook: a fraction of an evaluation's
 * pass, no more than a harvest.
 */
export class SiteMean {
  /** Positions counted so far. */
  positions = 0;
  private readonly sum: Float64Array;

  private constructor(
    private readonly session: Session,
    private readonly vocabulary: number,
    private readonly passContexts: number,
    width: number,
    private readonly rule: NormRule | undefined,
  ) {
    this.sum = new Float64Array(width);
  }

  static async open(
    checkpoint: Checkpoint,
    { hook, rule }: Site,
    context: number,
    placement: Placement,
    options: SessionOptions,
  ): Promise<SiteMean> {
    const session = await openSession(siteGraph(checkpoint, { hook, rule }, context, placement), options);
    const { config } = checkpoint;
    const passContexts = contextsAtOnce(blockParameters(config, 0, hook.layer + 1), context, options.device);
    return new SiteMean(session, config.vocabulary, passContexts, hook.width, rule);
  }

  /** Adds at most `limit` positions of a batch; returns how many counted. */
  async add(
    batch: readonly Context[],
    leftOut: LeftOut,
    limit: number,
    passed: (counted: number) => void | Promise<void>,
  ): Promise<number> {
    let counted = 0;
    for (let i = 0; i < batch.length && counted < limit; i += this.passContexts) {
      counted += await this.run(batch.slice(i, i + this.passContexts), leftOut, limit - counted);
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

  private async run(contexts: readonly Context[], leftOut: LeftOut, limit: number): Promise<number> {
    const { rule } = this;
    // Which of them are too long is only known once the model has run.
    const { rows } = evaluationPositions(contexts, leftOut, rule ? Number.POSITIVE_INFINITY : limit);
    if (rows.length === 0) return 0;
    const { Tensor } = await onnxRuntime();
    const context = contexts[0]!.tokens.length;
    const { x, norms } = await this.session.run({
      tokens: new Tensor('int64', batchTokens(contexts, this.vocabulary), [contexts.length, context]),
      rows: new Tensor('int64', BigInt64Array.from(rows, BigInt), [rows.length]),
    });
    const long = rule && Array.from(norms!.data as Float32Array, (norm) => norm > rule.multiple * rule.median);
    const counted = long ? new Set(evaluationPositions(contexts, leftOut, limit, long).rows) : undefined;
    const values = x!.data as Float32Array;
    const { sum } = this;
    let added = 0;
    for (const [i, row] of rows.entries()) {
      if (counted && !counted.has(row)) continue;
      for (let k = 0; k < sum.length; k++) sum[k]! += values[i * sum.length + k]!;
      added++;
    }
    this.positions += added;
    return added;
  }
}

/** The hook and positions of the mean. */
interface Site {
  readonly hook: Hook;
  /** Which positions do not count because of their norm, at this hook or an earlier one; all count if not given. */
  readonly rule?: NormRule | undefined;
}

/** Outputs `x` float32 [rows, width] and, with a rule, `norms` float32 [positions] at the rule's hook. */
function siteGraph(checkpoint: Checkpoint, { hook, rule }: Site, context: number, placement: Placement): Uint8Array {
  const g = new GraphBuilder('site-mean');
  const tokens = g.input('tokens', 'int64', ['batch', context]);
  const rows = g.input('rows', 'int64', ['rows']);
  const record = hookAt([hook.name, ...(rule ? [rule.hook.name] : [])], (name, value) => {
    if (name === rule?.hook.name) normOutput(g, value, rule.hook.width);
    if (name === hook.name) {
      g.output('x', g.gather(g.reshape(value, -1, hook.width), rows), 'float32', ['rows', hook.width]);
    }
    return value;
  });
  writeModel(g, checkpoint, context, placement).residual(tokens, record);
  return g.encode();
}
