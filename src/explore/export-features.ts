import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { ExportFeaturesConfig } from '../config/stages/features.js';
import { readTextFile } from '../disk/json.js';
import { asOwner, claimOutputDirectory } from '../disk/output-directory.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { stopRequested, throwIfStopped } from '../progress/stop.js';
import type { FeaturePage } from './api.js';
import { type ExploredSae, exploreFolder } from './explorer.js';
import {
  dashboardBatch,
  dashboardFeature,
  type ExportedSource,
  exportedSource,
  neuronpediaActivations,
  neuronpediaExplanation,
  neuronpediaFeature,
  neuronpediaFrame,
} from './neuronpedia.js';
import { type Write, writerInto } from './static-pages.js';

/** Features per batch. */
const BATCH = 256;

const RESULTS = { neuronpedia: 'release.jsonl', 'sae-dashboard': 'run_settings.json' } as const;
const OURS = {
  neuronpedia: /^((release|model|sourceset|source)\.jsonl|features|activations|explanations)$/,
  'sae-dashboard': /^(batch-\d+|run_settings|skipped_indexes)\.json$/,
} as const;

/**
 * Writes the features of an SAE in another tool's format.
 *
 * @returns the directory
 * @throws Refusal if the folder is not readable, or the directory contains anything else
 */
export async function exportFeatures(
  { folder, sae: name, as, set, out, overwrite, takeOver }: ExportFeaturesConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<string> {
  const explorer = await exploreFolder(folder, progress, name === undefined ? undefined : [name]);
  const [chosen, ...others] = explorer.saes.values();
  if (others.length > 0) {
    throw new UsageRefusal(
      `${folder} has ${others.length + 1} SAEs, but only one is exported at a time.`,
      `Choose one: --sae ${chosen!.record.folder}.`,
      'config/wrong-together',
    );
  }
  const source = exportedSource(explorer.record, chosen!.record, set);
  const result = RESULTS[as];
  const claim = {
    ...{ overwrite, result, beginsAnew: true, inputs: [explorer.directory] },
    takeOver: { unchecked: takeOver, say: (line: string) => progress.say(line) },
    ours: (file: string) => OURS[as].test(file),
  };
  await asOwner([out], claim, async () => {
    if (overwrite) await requireExport(out, result);
    await claimOutputDirectory(out, claim);
    const job = { source, sae: chosen!, write: writerInto(out), progress, stop };
    if (as === 'neuronpedia') await writeNeuronpedia(job);
    else await writeDashboard(job);
  });
  return out;
}

interface ExportJob {
  readonly source: ExportedSource;
  readonly sae: ExploredSae;
  readonly write: Write;
  readonly progress: Progress;
  readonly stop: StopRequest;
}

/** Names are not enough: someone else's directory may contain a folder called features, too. */
async function requireExport(out: string, result: string): Promise<void> {
  const text = await readTextFile(join(out, result)).catch(() => '');
  if (text === null || text.includes('"sae-pipe"')) return;
  throw new Refusal(
    `${out} contains ${basename(result)} of another program.`,
    'Choose another --out; --overwrite deletes only its own files.',
    'disk/foreign-files',
  );
}

/** Pages of the features that fire, one batch at a time. */
async function* pageBatches({ sae, progress, stop }: ExportJob): AsyncGenerator<{ n: number; pages: FeaturePage[] }> {
  const { d_sae: features, folder } = sae.record;
  progress.begin(`exporting features of ${folder}`, features, 'feature');
  for (let first = 0; first < features; first += BATCH) {
    const pages: FeaturePage[] = [];
    for (let j = first; j < Math.min(features, first + BATCH); j++) {
      if (sae.columns.numbers.frequency[j]! > 0) pages.push(await sae.pages.page(j));
    }
    yield { n: first / BATCH, pages };
    progress.update(Math.min(features, first + BATCH));
    if (await stopRequested(stop)) throwIfStopped(stop, 'the export is incomplete; the same command starts it again.');
  }
  progress.end();
}

async function writeNeuronpedia(job: ExportJob): Promise<void> {
  const { source, write } = job;
  const now = new Date().toISOString();
  const lines = (values: readonly object[]) => gzipSync(values.map((value) => `${JSON.stringify(value)}\n`).join(''));
  for await (const { n, pages } of pageBatches(job)) {
    const labelled = pages.filter(({ label }) => label !== null);
    await write(`features/batch-${n}.jsonl.gz`, lines(pages.map((page) => neuronpediaFeature(page, source, now))));
    await write(
      `activations/batch-${n}.jsonl.gz`,
      lines(pages.flatMap((page) => neuronpediaActivations(page, source, now))),
    );
    await write(
      `explanations/batch-${n}.jsonl.gz`,
      lines(labelled.map((page) => neuronpediaExplanation(page, source, now))),
    );
  }
  for (const [path, value] of Object.entries(neuronpediaFrame(source, now)))
    await write(path, `${JSON.stringify(value)}\n`);
}

async function writeDashboard(job: ExportJob): Promise<void> {
  const { source, sae, write } = job;
  for await (const { n, pages } of pageBatches(job)) {
    const features = pages.map((page) => dashboardFeature(page, source));
    await write(`batch-${n}.json`, JSON.stringify(dashboardBatch(features, source)));
  }
  const { frequency } = sae.columns.numbers;
  const dead = [...frequency.keys()].filter((j) => frequency[j] === 0);
  await write(
    'skipped_indexes.json',
    JSON.stringify({ model_id: source.modelId, layer: source.source, skipped_indexes: dead }),
  );
  const { context, contexts, corpus, settings } = source.record;
  const run = { made_by: 'sae-pipe', sae_set: source.set, model_id: source.modelId, dataset: corpus };
  await write(
    'run_settings.json',
    JSON.stringify({
      ...run,
      n_prompts_total: contexts,
      n_tokens_in_prompt: context,
      top_k: settings.top_k,
      n_features_per_batch: BATCH,
    }),
  );
}
