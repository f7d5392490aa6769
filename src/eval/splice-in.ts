import { batchTokens, type Context } from '../corpus/contexts.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import type { Hook } from '../lm/hooks.js';
import { choosePrecision, type Precision } from '../lm/precision.js';
import { onnxRuntime, openSession, type SessionOptions } from '../onnx/session.js';
import type { SaeFiles } from '../sae/saelens.js';
import { metricsOf, newSaeSums, newSharedSums } from './metrics.js';
import { evaluationPositions } from './positions.js';
import { CLEAN, FIRST_SAE, saeOutputs, spliceGraph, ZERO } from './splice-graph.js';

/** Entries of the model's widest value, the MLP's, over all variants of a pass: 768 MiB in float32. */
const WIDEST = 3 * 2 ** 26;

/** Contexts that go through the model at one time, so that its memory is bounded whatever the batch and the SAEs. */
export function contextsPerPass(mlp: number, context: number, variants: number): number {
  return Math.max(1, Math.floor(WIDEST / (mlp * context * variants)));
}

export interface SpliceInOptions extends SessionOptions {
  readonly precision?: Precision | 'auto';
  /** Contexts a pass; by default what memory allows. */
  readonly passContexts?: number;
}

/** SAEs of one hook, spliced into the model side by side; sums grow with every batch. */
export async function openSpliceIn(
  checkpoint: Checkpoint,
  hook: Hook,
  saes: readonly SaeFiles[],
  context: number,
  options: SpliceInOptions,
) {
  const placement = choosePrecision(options.precision ?? 'auto', options.device ?? 'cpu', checkpoint);
  const { model, chunk, variants } = spliceGraph(checkpoint, hook, saes, context, placement);
  const session = await openSession(model, options);
  const { Tensor } = await onnxRuntime();
  const shared = newSharedSums(hook.width);
  const sums = saes.map((sae) => newSaeSums(sae.dSae));

  const passContexts = options.passContexts ?? contextsPerPass(checkpoint.config.mlp, context, variants);

  /** Adds one batch, at most `limit` positions of it; returns how many counted. */
  async function add(batch: readonly Context[], bos: number, limit: number): Promise<number> {
    let counted = 0;
    for (let i = 0; i < batch.length && counted < limit; i += passContexts) {
      counted += await addPass(batch.slice(i, i + passContexts), bos, limit - counted);
    }
    return counted;
  }

  async function addPass(batch: readonly Context[], bos: number, limit: number): Promise<number> {
    const { spliced, counted, rows, targets } = evaluationPositions(batch, bos, limit);
    if (counted.length === 0) return 0;
    const padded = Math.ceil(rows.length / chunk) * chunk;
    const int64 = (values: readonly number[], length = values.length) => {
      const data = new BigInt64Array(length);
      for (const [i, value] of values.entries()) data[i] = BigInt(value);
      return new Tensor('int64', data, [length]);
    };
    const mask = new Float32Array(spliced.length);
    for (const i of counted) mask[i] = 1;
    const outputs = await session.run({
      tokens: new Tensor('int64', batchTokens(batch, checkpoint.config.vocabulary), [batch.length, context]),
      spliced: int64(spliced),
      counted: new Tensor('float32', mask, [1, spliced.length]),
      rows: int64(rows, padded),
      targets: int64(targets, padded),
    });
    const data = (name: string) => outputs[name]!.data as Float32Array;
    const [nll, kl] = [data('nll'), data('kl')];
    const sumOf = (losses: Float32Array, variant: number) => {
      let sum = 0;
      for (let i = 0; i < rows.length; i++) {
        sum += losses[(Math.floor(i / chunk) * variants + variant) * chunk + (i % chunk)]!;
      }
      return sum;
    };
    shared.tokens += counted.length;
    shared.nllClean += sumOf(nll, CLEAN);
    shared.nllZero += sumOf(nll, ZERO);
    const squared = data('x_squared');
    for (const i of counted) shared.squared += squared[i]!;
    for (const [i, value] of data('x_sum').entries()) shared.x[i]! += value;
    for (const [k, sae] of sums.entries()) {
      const name = saeOutputs(k);
      const [reconstruction, product, error, l0] = [name.reconstruction, name.product, name.error, name.l0].map(
        data,
      ) as [Float32Array, Float32Array, Float32Array, Float32Array];
      sae.nllSpliced += sumOf(nll, FIRST_SAE + k);
      sae.kl += sumOf(kl, FIRST_SAE + k);
      for (const i of counted) {
        sae.reconstruction += reconstruction[i]!;
        sae.product += product[i]!;
        sae.error += error[i]!;
        sae.l0 += l0[i]!;
        sae.cosine += cosine(squared[i]!, reconstruction[i]!, product[i]!);
      }
      for (const [j, value] of data(name.active).entries()) sae.active[j]! += value;
    }
    return counted.length;
  }

  return {
    add,
    metrics: () => sums.map((sae) => metricsOf(shared, sae)),
    /** Share of counted positions on which each feature is active, [d_sae] an SAE. */
    density: () => sums.map(({ active }) => active.map((n) => n / shared.tokens)),
    /** Losses that do not depend on the SAE (nats). */
    shared: () => ({ ce_clean: shared.nllClean / shared.tokens, ce_zero: shared.nllZero / shared.tokens }),
    release: () => session.release(),
  };
}

/** cos(x, x̂); 0 where either is zero. */
function cosine(squaredX: number, squaredReconstruction: number, product: number): number {
  const norms = Math.sqrt(squaredX * squaredReconstruction);
  return norms > 0 ? product / norms : 0;
}
