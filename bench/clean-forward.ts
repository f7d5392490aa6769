import { batchTokens, type Context } from '../src/corpus/contexts.js';
import { chunkRows, evenChunks, tokenLosses } from '../src/eval/splice-graph.js';
import { evaluationPositions } from '../src/eval/splice-pass.js';
import { type Checkpoint, writeModel } from '../src/lm/checkpoint.js';
import { GraphBuilder } from '../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../src/onnx/session.js';

/** The model with its loss and nothing else: what an evaluation is measured against. Runs give the mean loss (nats). */
export async function openCleanForward(checkpoint: Checkpoint, context: number, threads: number) {
  const { hidden, vocabulary } = checkpoint.config;
  const { Tensor } = await onnxRuntime();
  const g = new GraphBuilder('clean-forward');
  const tokens = g.input('tokens', 'int64', ['batch', context]);
  const rows = g.input('rows', 'int64', ['rows']);
  const targets = g.input('targets', 'int64', ['rows']);
  const lm = writeModel(g, checkpoint, context, { device: 'cpu', precision: 'float32' });
  const residual = lm.finalNorm(lm.residual(tokens, (_, value) => value));
  const { nll } = tokenLosses(g, {
    hidden: g.gather(g.reshape(residual, 1, -1, hidden), rows, 1),
    logits: (h, body) => lm.logits(h, body),
    targets,
    chunks: g.input('chunks', 'int64', [1]),
    variants: 1,
    compared: 1,
  });
  g.output('nll', nll, 'float32', ['chunks', 1, 'chunk']);
  const session = await openSession(g.encode(), { threads });
  return {
    async run(batch: readonly Context[], bos: number): Promise<number> {
      const positions = evaluationPositions(batch, bos, Number.POSITIVE_INFINITY);
      const count = positions.rows.length;
      const { chunks, chunk } = evenChunks(count, chunkRows(vocabulary, 1));
      const int64 = (values: readonly number[], length: number) => {
        const data = new BigInt64Array(length);
        for (const [i, value] of values.entries()) data[i] = BigInt(value);
        return new Tensor('int64', data, [length]);
      };
      const outputs = await session.run({
        tokens: new Tensor('int64', batchTokens(batch, vocabulary), [batch.length, context]),
        rows: int64(positions.rows, chunks * chunk),
        targets: int64(positions.targets, chunks * chunk),
        chunks: int64([chunks], 1),
      });
      const losses = (outputs.nll!.data as Float32Array).subarray(0, count);
      return losses.reduce((sum, x) => sum + x, 0) / count;
    },
    release: () => session.release(),
  };
}
