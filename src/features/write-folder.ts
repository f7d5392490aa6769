import { join } from 'node:path';
import { exists } from '../disk/input-file.js';
import type { Candidate } from '../eval/candidates.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import type { Placement } from '../lm/placement.js';
import type { SessionOptions } from '../onnx/session.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { stopRequested, throwIfStopped } from '../progress/stop.js';
import type { Cofiring } from './cofiring.js';
import type { SaeCollection } from './collection.js';
import {
  type DirectionSession,
  directionNorms,
  type LogitEffects,
  type LogitSession,
  type Norms,
  openLogitEffects,
  openNearest,
} from './directions.js';
import { examplesFile, FILE_FEATURES, featuresFile, type StoredExample, type StoredFeature } from './folder.js';
import { writeExampleRows, writeFeatureRows } from './parquet-rows.js';
import type { Tally } from './tally.js';

/** Number of neighbours, co-firing features, and tokens at either end of the logits stored per feature. */
const LISTED = 10;
/** Number of tokens at a feature's strongest peaks, for listing it. */
const PEAK_TOKENS = 5;

/** What the files of an SAE need from the run. */
interface Writing {
  /** The folder. */
  readonly out: string;
  readonly checkpoint: Checkpoint;
  readonly placement: Placement;
  readonly options: SessionOptions;
  /** Positions that count for this SAE, and the tokens of every context. */
  readonly tokens: number;
  readonly contexts: readonly Int32Array[];
  readonly window: readonly [before: number, after: number];
  readonly progress: Progress;
  readonly stop: StopRequest;
  /** Saves progress when a stop is requested. */
  readonly kept: () => string;
}

/** Known about an SAE beyond what was collected. */
interface Sources {
  readonly norms: Norms;
  /** Σ f |W_dec[j]| over all features. */
  readonly total: number;
  readonly weights: Float32Array;
  readonly decoder: DirectionSession;
  readonly encoder: DirectionSession;
  readonly logits: LogitSession | null;
  readonly cofiring: (feature: number) => Cofiring;
}

/**
 * Writes the files of one SAE; existing files are from the same run and are kept.
 *
 * @param folder the SAE's directory in the folder
 */
export async function writeSaeFiles(sae: SaeCollection, folder: string, writing: Writing): Promise<void> {
  const { out, progress, stop, kept } = writing;
  const { files, path } = sae.candidate;
  const sessions: { release(): Promise<void> }[] = [];
  const opened = async <S extends { release(): Promise<void> } | null>(opening: Promise<S>): Promise<S> => {
    const session = await opening;
    if (session) sessions.push(session);
    return session;
  };
  progress.begin(`correlating the features of ${path}`, files.dSae, 'feature');
  const cofiring = await sae.sample.correlations(LISTED, async (done) => {
    progress.update(done);
    if (await stopRequested(stop)) throwIfStopped(stop, kept());
  });
  progress.begin(`comparing the features of ${path}`, files.dSae, 'feature');
  try {
    const norms = await directionNorms(files, writing.options);
    const weights = files.forward?.rescale_acts_by_decoder_norm ? norms.decoder.map(() => 1) : norms.decoder;
    const { checkpoint, placement, options } = writing;
    const target = { hook: sae.candidate.hook, placement, most: LISTED };
    const sources: Sources = {
      ...{ norms, weights, total: totalNorm(sae, weights) },
      decoder: await opened(openNearest(files, 'decoder', LISTED, options)),
      encoder: await opened(openNearest(files, 'encoder', LISTED, options)),
      logits: await opened(openLogitEffects(checkpoint, files, target, options)),
      cofiring,
    };
    for (const [i, tally] of sae.tallies.entries()) {
      const [features, examples] = [join(out, folder, featuresFile(i)), join(out, folder, examplesFile(i))];
      if (!(await exists(examples))) await writeExampleRows(examples, exampleRows(tally, writing));
      if (!(await exists(features))) await writeFeatureRows(features, featureRows(tally, sae, sources, writing));
      progress.update(Math.min(files.dSae, (i + 1) * FILE_FEATURES));
    }
    progress.end();
  } finally {
    for (const session of sessions) await session.release();
  }
}

function totalNorm({ tallies }: SaeCollection, weights: Float32Array): number {
  let total = 0;
  for (const { first, sum } of tallies) for (const [i, f] of sum.entries()) total += f * weights[first + i]!;
  return total;
}

/** Multiplications between two checks of the stop request: a few seconds on two cores. */
const OPERATIONS = 2.5e11;
/** Max features per such step. */
const BLOCK = 256;

/** Features whose directions are compared with all others at a time. */
function blockSize({ files: { dSae, dIn, dOut } }: Candidate): number {
  return Math.max(1, Math.min(BLOCK, Math.floor(OPERATIONS / (dSae * (dIn + dOut)))));
}

async function* featureRows(
  tally: Tally,
  sae: SaeCollection,
  sources: Sources,
  writing: Writing,
): AsyncGenerator<StoredFeature> {
  const { progress, stop, kept } = writing;
  const block = blockSize(sae.candidate);
  const none: LogitEffects = { top: { indices: [], values: [] }, bottom: { indices: [], values: [] } };
  for (let local = 0; local < tally.features; local += block) {
    const first = tally.first + local;
    const end = Math.min(first + block, tally.first + tally.features);
    const decoder = await sources.decoder.of(first, end);
    const encoder = await sources.encoder.of(first, end);
    const logits = (await sources.logits?.of(first, end)) ?? decoder.map(() => none);
    for (let j = first; j < end; j++) {
      const at = j - first;
      const cofiring = sources.cofiring(j);
      const { top, bottom } = logits[at]!;
      yield {
        ...statisticsOf(tally, j, sources, writing),
        peak_tokens: peakTokens(tally, j, writing),
        ...{ top_logit_tokens: top.indices, top_logits: top.values },
        ...{ bottom_logit_tokens: bottom.indices, bottom_logits: bottom.values },
        ...{ decoder_neighbours: decoder[at]!.indices, decoder_cosines: decoder[at]!.values },
        ...{ encoder_neighbours: encoder[at]!.indices, encoder_cosines: encoder[at]!.values },
        ...{ cofiring: cofiring.features, cofiring_correlations: cofiring.correlations },
        cofiring_tokens: cofiring.tokens,
      };
    }
    progress.update(end);
    if (await stopRequested(stop)) throwIfStopped(stop, kept());
  }
}

/** The single-number columns of a feature, and its histogram. */
function statisticsOf(tally: Tally, feature: number, { norms, weights, total }: Sources, { tokens }: Writing) {
  const local = feature - tally.first;
  const [active, sum] = [tally.activeTokens[local]!, tally.sum[local]!];
  const histogram = tally.histograms.of(local);
  return {
    feature,
    active_tokens: active,
    frequency: active / tokens,
    mean_active: active === 0 ? Number.NaN : Math.fround(sum / active),
    max: tally.max[local]!,
    norm_share: total === 0 ? 0 : (sum * weights[feature]!) / total,
    decoder_norm: norms.decoder[feature]!,
    encoder_norm: norms.encoder[feature]!,
    encoder_decoder_cosine: norms.cosine[feature]!,
    histogram_first: histogram.first,
    histogram: histogram.counts,
  };
}

/** Tokens at the peaks of the top k, strongest first, without repetition. */
function peakTokens(tally: Tally, feature: number, { contexts }: Writing): number[] {
  const top = tally.examplesOf(feature - tally.first).filter(({ band }) => band === 0);
  return [...new Set(top.map(({ context, position }) => contexts[context]![position]!))].slice(0, PEAK_TOKENS);
}

function* exampleRows(tally: Tally, { contexts, window: [before, after] }: Writing): Generator<StoredExample> {
  for (let local = 0; local < tally.features; local++) {
    for (const { activations, ...example } of tally.examplesOf(local)) {
      const tokens = contexts[example.context]!;
      const { position } = example;
      const [first, end] = [Math.max(0, position - before), Math.min(tokens.length, position + after + 1)];
      const from = first - (position - before);
      yield {
        feature: tally.first + local,
        ...example,
        first,
        tokens: [...tokens.subarray(first, end)],
        activations: [...activations.subarray(from, from + end - first)],
      };
    }
  }
}
