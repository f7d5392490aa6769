import { batchTokens, type Context } from '../corpus/contexts.js';
import { type Checkpoint, writeModel } from '../lm/checkpoint.js';
import { type Hook, hookAt } from '../lm/hooks.js';
import type { Placement } from '../lm/placement.js';
import { GraphBuilder, type Value } from '../onnx/graph.js';
import { onnxRuntime, openSession, type Session, type SessionOptions } from '../onnx/session.js';

/** Positions that an SAE was not trained on: those whose activation at its input hook is too long. */
export interface NormRule {
  readonly hook: Hook;
  readonly multiple: number;
  /** Median of the norms in training. */
  readonly median: number;
}

/**
 * Finds positions with long activations. Tokens alone do not determine them: the model runs once more, up to the hook.
 */
export class LongPositions {
  private constructor(
    private readonly session: Session,
    private readonly vocabulary: number,
    private readonly longest: number,
  ) {}

  static async open(
    checkpoint: Checkpoint,
    { hook, multiple, median }: NormRule,
    context: number,
    placement: Placement,
    options: SessionOptions,
  ): Promise<LongPositions> {
    const session = await openSession(normGraph(checkpoint, hook, context, placement), options);
    return new LongPositions(session, checkpoint.config.vocabulary, multiple * median);
  }

  /** @returns whether each flat position of the contexts is too long */
  async of(contexts: readonly Context[]): Promise<readonly boolean[]> {
    const { Tensor } = await onnxRuntime();
    const length = contexts[0]!.tokens.length;
    const tokens = new Tensor('int64', batchTokens(contexts, this.vocabulary), [contexts.length, length]);
    const { norms } = await this.session.run({ tokens });
    return Array.from(norms!.data as Float32Array, (norm) => norm > this.longest);
  }

  release(): Promise<void> {
    return this.session.release();
  }
}

/** Adds the output `norms` float32 [batch · context], |x| of activations [batch, context, width]. */
export function normOutput(g: GraphBuilder, activations: Value, width: number): void {
  const x = g.reshape(activations, -1, width);
  g.output('norms', g.op('Sqrt', [g.reduceSumSquare(x, [1])]), 'float32', ['positions']);
}

/** Input `tokens` int64 [batch, context]; output `norms` float32 [batch · context], |x| at the hook. */
function normGraph(checkpoint: Checkpoint, hook: Hook, context: number, placement: Placement): Uint8Array {
  const g = new GraphBuilder('norms');
  const tokens = g.input('tokens', 'int64', ['batch', context]);
  const record = hookAt([hook.name], (_, value) => {
    normOutput(g, value, hook.width);
    return value;
  });
  writeModel(g, checkpoint, context, placement).residual(tokens, record);
  return g.encode();
}
