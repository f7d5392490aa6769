import type { Context, LeftOut } from '../corpus/contexts.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import type { Hook } from '../lm/hooks.js';
import { choosePrecision, type Precision } from '../lm/precision.js';
import { openSession, type SessionOptions } from '../onnx/session.js';
import type { SaeFiles } from '../sae/saelens.js';
import { addPass, openContexts } from './accumulate.js';
import { totalsOf } from './context-sums.js';
import { checkPass } from './finite-pass.js';
import { type Metrics, metricsOf } from './metrics.js';
import { runPass } from './pass.js';
import { evaluationContexts } from './pass-length.js';
import { spliceGraph, variantsOf } from './splice-graph.js';
import { newSaeSums, newSiteSums } from './sums.js';
import { chunkRows } from './token-losses.js';

/** Told after each pass over a part of a batch: positions of the batch that have counted so far. */
export type Passed = (counted: number) => void | Promise<void>;

export interface SpliceInOptions extends SessionOptions {
  readonly precision?: Precision | 'auto';
  readonly meanAblation?: boolean;
  /** Contexts a pass; by default what memory allows, and on a CPU time. */
  readonly passContexts?: number;
}

/**
 * SAEs of one hook, spliced into the model side by side; sums grow with every batch. Where there is an SAE or mean
 * ablation, addToMean comes first: it gives the centre, which mean ablation puts in the place of x and about which
 * squares are summed.
 */
export async function openSpliceIn(
  checkpoint: Checkpoint,
  hook: Hook,
  saes: readonly SaeFiles[],
  context: number,
  options: SpliceInOptions,
) {
  const { meanAblation = false } = options;
  const placement = choosePrecision(options.precision ?? 'auto', options.device ?? 'cpu', checkpoint);
  const { vocabulary } = checkpoint.config;
  const variants = variantsOf(saes.length, meanAblation);
  const session = await openSession(spliceGraph(checkpoint, hook, saes, context, placement, meanAblation), options);
  const site = newSiteSums(context);
  const sums = saes.map(({ dIn, dSae }) => newSaeSums(dIn, dSae, context));
  const about = { layer: hook.layer, variants: variants.count, saes, context, device: options.device };
  const passContexts = options.passContexts ?? evaluationContexts(checkpoint.config, about);
  const pilot = { positions: 0, x: new Float64Array(hook.width) };
  let centre: Float32Array | null = null;

  /** Runs a batch in passes, at most `limit` positions of it; returns how many counted. */
  async function passes(
    batch: readonly Context[],
    limit: number,
    passed: Passed,
    run: (part: readonly Context[], limit: number) => Promise<number>,
  ): Promise<number> {
    let counted = 0;
    for (let i = 0; i < batch.length && counted < limit; i += passContexts) {
      counted += await run(batch.slice(i, i + passContexts), limit - counted);
      await passed(counted);
    }
    return counted;
  }

  /** Adds at most `limit` positions of a batch to the mean of x; returns how many counted. Computes no logits. */
  const addToMean = (batch: readonly Context[], leftOut: LeftOut, limit: number, passed: Passed = () => {}) => {
    if (centre) throw new Error('the mean is in use already');
    const origin = new Float32Array(hook.width);
    return passes(batch, limit, passed, async (part, left) => {
      const pass = await runPass(session, part, { leftOut, limit: left, vocabulary, chunkRows: 0, centre: origin });
      if (!pass) return 0;
      for (const [i, sum] of pass.data('u').entries()) pilot.x[i % hook.width]! += sum;
      pilot.positions += pass.counted.length;
      return pass.counted.length;
    });
  };

  /**
   * Adds one batch, at most `limit` positions of it; returns how many counted.
   *
   * @throws Refusal where a loss or a reconstruction is not finite, saying whose
   */
  const add = (batch: readonly Context[], leftOut: LeftOut, limit: number, passed: Passed = () => {}) => {
    if (pilot.positions === 0 && variants.count > 2) throw new Error('addToMean comes first');
    centre ??= Float32Array.from(pilot.x, (sum) => sum / Math.max(1, pilot.positions));
    const settings = { leftOut, vocabulary, chunkRows: chunkRows(vocabulary, variants.count), centre };
    return passes(batch, limit, passed, async (part, left) => {
      const pass = await runPass(session, part, { ...settings, limit: left });
      if (!pass) return 0;
      const before = site.byContext.tokens.length;
      addPass(pass, openContexts(pass, context, site, sums), variants, site, sums);
      await checkPass({ checkpoint, hook, saes, placement, options }, site, sums, part, before);
      return pass.counted.length;
    });
  };

  return {
    addToMean,
    add,
    metrics: (): Metrics[] => sums.map((sae) => metricsOf(site, sae, { context, meanAblation })),
    /** Share of counted positions on which each feature is active, [d_sae] an SAE. */
    density: () => {
      const { tokens } = totalsOf(site.byContext);
      return sums.map(({ active }) => active.map((n) => n / tokens));
    },
    /** Losses that do not depend on the SAE (nats). */
    shared: () => {
      const { tokens, nllClean, nllZero } = totalsOf(site.byContext);
      return { ce_clean: nllClean / tokens, ce_zero: nllZero / tokens };
    },
    release: () => session.release(),
  };
}
