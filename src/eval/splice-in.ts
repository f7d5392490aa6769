import { batchTokens, type Context, type LeftOut } from '../corpus/contexts.js';
import { Refusal } from '../errors/refusal.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import type { Hook } from '../lm/hooks.js';
import { choosePrecision, firstHookNotFinite, notFiniteRemedy } from '../lm/pass.js';
import type { Placement, Precision } from '../lm/placement.js';
import { freeOnGpu, gpus } from '../machine/gpus.js';
import { openSession, type Session, type SessionOptions } from '../onnx/session.js';
import type { ChangeOfSae } from '../sae/feature-changes.js';
import type { SaeFiles } from '../sae/saelens.js';
import { ChangedLosses } from './changed-losses.js';
import { LongPositions, type NormRule } from './long-positions.js';
import { metricsOf, type SpliceMetrics } from './metrics.js';
import { SiteMean } from './site-mean.js';
import { chunkRows, saeOutputs, spliceGraph, type Variants, variantsOf } from './splice-graph.js';
import { evaluationContexts, type Pass, runPass } from './splice-pass.js';
import {
  beginContext,
  binsOfPositions,
  type ContextSums,
  densities,
  newSaeSums,
  newSiteSums,
  type SaeSums,
  type SiteSums,
  sharedLosses,
} from './sums.js';

/** Called after each pass with the number of the batch's positions counted so far. */
type Passed = (counted: number) => void | Promise<void>;

interface SpliceInOptions extends SessionOptions {
  readonly precision?: Precision | 'auto';
  readonly meanAblation?: boolean;
  /** Do contexts begin with BOS? Yes if not given. */
  readonly prependBos?: boolean;
  /** Contexts per pass; by default limited by memory, and on a CPU by time. */
  readonly passContexts?: number;
  /** The input hook of each SAE, if not the one where it is spliced in. */
  readonly inputs?: readonly Hook[];
  /** Which positions keep their activation because of its norm; none if not given. */
  readonly normRule?: NormRule;
  /** For each SAE: features to change, with the rest of x kept, in a separate run; null: none. */
  readonly changes?: readonly (ChangeOfSae | null)[];
}

/**
 * SAEs at one hook (including transcoders to it), spliced into the model in parallel; sums accumulate over batches.
 * With an SAE or mean ablation, call addToMean first: it provides the centre, which replaces x in mean ablation and
 * about which squares are summed.
 */
export async function openSpliceIn(
  checkpoint: Checkpoint,
  hook: Hook,
  saes: readonly SaeFiles[],
  context: number,
  options: SpliceInOptions,
) {
  const { normRule: rule, meanAblation = false, prependBos = true, inputs, changes = [] } = options;
  const first = prependBos ? 1 : 0;
  const placement = choosePrecision(options.precision ?? 'auto', options.device ?? 'cpu', checkpoint);
  const { vocabulary } = checkpoint.config;
  const variants = variantsOf(saes.length, meanAblation, changes.filter(Boolean).length);
  const graph = spliceGraph(checkpoint, hook, saes, context, placement, { meanAblation, inputs, changes });
  // Not at the same time as the session for the mean, which holds some of the same weights.
  let session: Session | undefined;
  const site = newSiteSums(hook.width, context, first);
  const sums = saes.map(({ dOut, dSae }) => newSaeSums(dOut, dSae, context, first));
  const changed = new ChangedLosses(changes);
  const about = { layer: hook.layer, variants: variants.count, saes, context, device: options.device };
  const passContexts = options.passContexts ?? evaluationContexts(checkpoint.config, about);
  let long: LongPositions | undefined;
  let rows: number | undefined;
  let kept = 0;
  let siteMean: SiteMean | undefined;
  let centre: Float32Array | null = null;

  /** Adds at most `limit` positions of a batch to the mean of x; returns how many counted. Computes no logits. */
  const addToMean = async (batch: readonly Context[], leftOut: LeftOut, limit: number, passed: Passed = () => {}) => {
    if (centre) throw new Error('the mean is already in use');
    siteMean ??= await SiteMean.open(checkpoint, { hook, rule }, context, placement, options);
    return siteMean.add(batch, leftOut, limit, passed);
  };

  /** Fixes the mean; nothing is added to it afterwards. */
  const takeCentre = async () => {
    if (!siteMean && variants.count > 2) throw new Error('addToMean comes first');
    centre = siteMean?.mean() ?? new Float32Array(hook.width);
    await siteMean?.release();
    siteMean = undefined;
    return centre;
  };

  /**
   * Adds one batch, at most `limit` positions of it; returns how many counted.
   *
   * @throws Refusal naming the model or SAE whose loss or reconstruction is not finite
   */
  const add = async (batch: readonly Context[], leftOut: LeftOut, limit: number, passed: Passed = () => {}) => {
    const about = centre ?? (await takeCentre());
    session ??= await openSession(graph, options);
    // Measured with its weights loaded.
    rows ??= chunkRows(vocabulary, variants.count, await freeForLogits(options.device));
    if (rule) long ??= await LongPositions.open(checkpoint, rule, context, placement, options);
    const opened = session;
    const settings = { leftOut, vocabulary, chunkRows: rows, centre: about };
    return inPasses(batch, { passContexts, limit }, passed, async (part, left) => {
      const pass = await runPass(opened, part, { ...settings, limit: left, long: await long?.of(part) });
      if (!pass) return 0;
      kept += pass.kept;
      const before = site.byContext.tokens.length;
      const columns = [...sums.map((sae) => sae.byContext), ...changed.columns];
      const places = openContexts(pass, { context, first }, site, columns);
      addPass(pass, places, variants, site, sums);
      changed.add(pass, places, variants);
      await checkPass({ checkpoint, hook, saes, placement, options }, site, { sums, changed }, part, before);
      return pass.counted.length;
    });
  };

  return {
    addToMean,
    add,
    metrics: (): SpliceMetrics[] =>
      sums.map((sae, k) => ({
        ...metricsOf(site, sae, { context, first, meanAblation }),
        ...{ left_out: kept, changed_features: changed.metrics(site, k) },
      })),
    /** Share of counted positions on which each feature is active, [d_sae] per SAE. */
    density: () => densities(site, sums),
    /** Losses that do not depend on the SAE (nats). */
    shared: () => sharedLosses(site),
    release: async () => {
      await siteMean?.release();
      await long?.release();
      await session?.release();
    },
  };
}

/** Free bytes on the GPU of an evaluation; undefined elsewhere, or if unknown. */
async function freeForLogits(device: string | undefined): Promise<number | undefined> {
  return device?.startsWith('cuda') ? freeOnGpu(device, await gpus()) : undefined;
}

/** Runs at most `limit` positions of a batch in several passes; returns how many counted. */
async function inPasses(
  batch: readonly Context[],
  { passContexts, limit }: { readonly passContexts: number; readonly limit: number },
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

/** Where a counted position is accumulated: its context's entry and its bin by position. */
interface PlaceInSums {
  readonly context: number;
  readonly bin: number;
}

/** Allocates an entry of the sums per context of a pass with counted positions; returns the place of each position. */
function openContexts(
  pass: Pass,
  { context, first }: { readonly context: number; readonly first: number },
  site: SiteSums,
  others: readonly ContextSums<string>[],
): PlaceInSums[] {
  const u = pass.data('u');
  const width = u.length / pass.contexts;
  const bins = binsOfPositions(context, first);
  let last = -1;
  return pass.rows.map((row) => {
    const index = Math.floor(row / context);
    if (index !== last) {
      for (const sums of [site.byContext, ...others]) beginContext(sums);
      site.u.push(u.slice(index * width, (index + 1) * width));
    }
    last = index;
    return { context: site.byContext.tokens.length - 1, bin: bins[row % context]! };
  });
}

/** Adds the results of a pass to the sums of its hook and of every SAE. */
function addPass(
  pass: Pass,
  places: readonly PlaceInSums[],
  variants: Variants,
  site: SiteSums,
  saes: readonly SaeSums[],
): void {
  const { counted, targets, data, loss } = pass;
  const nll = data('nll');
  const nllOf = (variant: number, i: number) => loss(nll, variant, variants.count, i);
  const [squared, spread] = [data('x_squared'), data('spread')];
  for (const [i, { context, bin }] of places.entries()) {
    const { byContext, byPosition } = site;
    const [clean, zero] = [nllOf(variants.clean, i), nllOf(variants.zero, i)];
    byContext.tokens[context]! += 1;
    byContext.nllClean[context]! += clean;
    byContext.nllZero[context]! += zero;
    if (variants.mean !== null) byContext.nllMean[context]! += nllOf(variants.mean, i);
    byContext.spread[context]! += spread[counted[i]!]!;
    site.spreads.add(spread[counted[i]!]!);
    byPosition.tokens[bin]! += 1;
    byPosition.nllClean[bin]! += clean;
    byPosition.nllZero[bin]! += zero;
  }
  for (const token of targets) site.targets.set(token, (site.targets.get(token) ?? 0) + 1);
  addTo(site.dimensions, data('dimensions'));
  for (const [k, { byContext, byPosition, active, l0, slope, dimensions }] of saes.entries()) {
    const names = saeOutputs(k);
    const kl = data('kl');
    const [reconstructions, products, errors] = [data(names.reconstruction), data(names.product), data(names.error)];
    const l0s = data(names.l0);
    for (const [i, { context, bin }] of places.entries()) {
      const at = counted[i]!;
      const [reconstruction, product, error] = [reconstructions[at]!, products[at]!, errors[at]!];
      const spliced = nllOf(variants.firstSae + k, i);
      byContext.nllSpliced[context]! += spliced;
      byContext.kl[context]! += loss(kl, k, variants.count - variants.firstSae, i);
      byContext.l0[context]! += l0s[at]!;
      byContext.reconstruction[context]! += reconstruction;
      byContext.product[context]! += product;
      byContext.error[context]! += error;
      byContext.cosine[context]! += orZero(product / Math.sqrt(squared[at]! * reconstruction));
      byContext.normRatio[context]! += orZero(Math.sqrt(reconstruction / squared[at]!));
      byContext.relativeError[context]! += error / spread[at]!;
      byContext.curvature[context]! += error / spread[at]! ** 2;
      l0[l0s[at]!]! += 1;
      byPosition[bin]! += spliced;
    }
    addTo(active, data(names.active));
    addTo(slope, data(names.slope));
    addTo(dimensions, data(names.dimensions));
  }
}

function addTo(sums: Float64Array, values: Float32Array): void {
  for (const [i, value] of values.entries()) sums[i]! += value;
}

/** The value, or 0 for a token without a norm, which has no direction and no ratio. */
function orZero(value: number): number {
  return Number.isFinite(value) ? value : 0;
}

/** What was evaluated, for error messages. */
interface Site {
  readonly checkpoint: Checkpoint;
  readonly hook: Hook;
  readonly saes: readonly SaeFiles[];
  readonly placement: Placement;
  readonly options: SessionOptions;
}

/**
 * Checks the sums of the contexts from number `from` on, those of one pass.
 *
 * @param contexts of the pass
 * @throws Refusal naming the model and the hook where it begins, or the SAE, whose values are not finite
 */
async function checkPass(
  { checkpoint, hook, saes, placement, options }: Site,
  site: SiteSums,
  { sums, changed }: { readonly sums: readonly SaeSums[]; readonly changed: ChangedLosses },
  contexts: readonly Context[],
  from: number,
): Promise<void> {
  const finite = (column: readonly number[]) => column.slice(from).every(Number.isFinite);
  if (!finite(site.byContext.nllClean)) {
    const length = contexts[0]!.tokens.length;
    const batch = { ids: batchTokens(contexts, checkpoint.config.vocabulary), length };
    const origin = await firstHookNotFinite(checkpoint, batch, placement, options);
    const where = origin ? `, first at ${origin.name}` : ', though all hooks are finite';
    throw new Refusal(
      `The loss of ${checkpoint.name} is not finite in contexts ${contexts[0]!.index} to ${contexts.at(-1)!.index}${where}.`,
      notFiniteRemedy(placement),
      'eval/loss-not-finite',
    );
  }
  if (!finite(site.byContext.nllZero)) {
    throw new Refusal(
      `The loss of ${checkpoint.name} is not finite where ${hook.name} is replaced by 0.`,
      notFiniteRemedy(placement),
      'eval/loss-not-finite',
    );
  }
  for (const [k, { byContext }] of sums.entries()) {
    if (finite(byContext.nllSpliced) && finite(byContext.kl) && finite(byContext.error)) continue;
    throw new Refusal(
      `${saes[k]!.directory} reconstructs non-finite values, or values that make the model's non-finite.`,
      placement.precision === 'float16' ? notFiniteRemedy(placement) : 'Its weights are too large: use another SAE.',
      'eval/reconstruction-not-finite',
    );
  }
  const broken = changed.notFinite(from);
  if (broken < 0) return;
  throw new Refusal(
    `With features of ${saes[broken]!.directory} changed, the loss of ${checkpoint.name} is not finite.`,
    'Use smaller strengths; activations of features are rarely above a few hundred.',
    'generate/not-finite',
  );
}
