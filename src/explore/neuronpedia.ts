import type { FeaturesOfSae, FeaturesRecord } from '../features/folder.js';
import type { ExampleBand, FeatureExample, FeaturePage } from './api.js';

// The JSON formats of other tools. What is not collected here is an empty list there, as for an SAE whose dashboards
// were made without it: neuron alignment, the logit distribution, and head attribution weights.

/** Fields repeated in a feature's records. */
export interface ExportedSource {
  readonly modelId: string;
  /** "2-gated": the layer and the set. */
  readonly source: string;
  readonly set: string;
  readonly record: FeaturesRecord;
  readonly sae: FeaturesOfSae;
}

const NAME = 'sae-pipe';

/** A name as it appears in those tools' ids. */
const slug = (name: string) =>
  name
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, '-')
    .replace(/^-+|-+$/g, '') || 'unnamed';

export function exportedSource(record: FeaturesRecord, sae: FeaturesOfSae, set?: string): ExportedSource {
  const layer = /^blocks\.(\d+)\./.exec(sae.hook)?.[1] ?? '0';
  const name = slug(set ?? sae.folder);
  return { modelId: slug(record.model.name.split('/').at(-1)!), source: `${layer}-${name}`, set: name, record, sae };
}

/** Examples of a band with the range of its bin, and the share of active tokens in it. */
function binOf({ band, from, to }: ExampleBand, { histogram, activeTokens }: FeaturePage) {
  // sae-dashboard's marker for the strongest examples.
  if (band === 0) return { min: -1, max: 99, contains: -1 };
  const first = Math.round(4 * Math.log2(from)) - histogram.first;
  let inside = 0;
  for (let b = Math.max(0, first); b < first + 4; b++) inside += histogram.counts[b] ?? 0;
  return { min: from, max: to, contains: activeTokens === 0 ? 0 : inside / activeTokens };
}

/** Midpoints of the bars on a log scale, and their heights. */
const barsOf = ({ histogram }: FeaturePage) => ({
  freq_hist_data_bar_values: histogram.counts.map((_, b) => rounded(2 ** ((histogram.first + b + 0.5) / 4))),
  freq_hist_data_bar_heights: histogram.counts,
});

/** Three decimals, like sae-dashboard. */
const rounded = (value: number) => Math.round(1000 * value) / 1000;

const sharedFields = (page: FeaturePage) => ({
  neuron_alignment_indices: [],
  neuron_alignment_values: [],
  neuron_alignment_l1: [],
  correlated_neurons_indices: [],
  correlated_neurons_pearson: [],
  correlated_neurons_l1: [],
  correlated_features_indices: page.cofiring.map(({ feature }) => feature),
  correlated_features_pearson: page.cofiring.map(({ value }) => rounded(value)),
  correlated_features_l1: [],
  neg_str: page.bottomLogits.map(({ token }) => token),
  neg_values: page.bottomLogits.map(({ value }) => rounded(value)),
  pos_str: page.topLogits.map(({ token }) => token),
  pos_values: page.topLogits.map(({ value }) => rounded(value)),
  frac_nonzero: page.frequency,
  ...barsOf(page),
  logits_hist_data_bar_heights: [],
  logits_hist_data_bar_values: [],
  decoder_weights_dist: [],
});

/** Every example of a feature once, in the bin of the first band that contains it. */
function* binnedExamples(page: FeaturePage): Generator<{ example: FeatureExample; bin: ReturnType<typeof binOf> }> {
  for (const band of page.bands) for (const example of band.examples) yield { example, bin: binOf(band, page) };
}

/** A feature in a batch-N.json of sae-dashboard. */
export function dashboardFeature(page: FeaturePage, { record, sae }: ExportedSource): object {
  return {
    feature_index: page.feature,
    ...sharedFields(page),
    n_prompts_total: record.contexts,
    n_tokens_in_prompt: record.context,
    dataset: record.corpus,
    vector: [],
    hook_name: sae.hook,
    activations: [...binnedExamples(page)].map(({ example, bin }) => ({
      bin_min: bin.min,
      bin_max: bin.max,
      bin_contains: rounded(bin.contains),
      tokens: example.tokens,
      values: example.activations.map(rounded),
      qualifying_token_index: example.peak,
      dfa_values: [],
      dfa_maxValue: 0,
      dfa_targetIndex: 0,
    })),
  };
}

/** A batch-N.json of sae-dashboard. */
export const dashboardBatch = (features: readonly object[], { modelId, source, set }: ExportedSource): object => ({
  model_id: modelId,
  layer: Number(source.split('-')[0]),
  sae_set: set,
  sae_id_suffix: null,
  features,
});

/** A line of features/batch-N.jsonl of Neuronpedia. */
export function neuronpediaFeature(page: FeaturePage, source: ExportedSource, createdAt: string): object {
  return {
    modelId: source.modelId,
    layer: source.source,
    index: String(page.feature),
    sourceSetName: source.set,
    creatorId: NAME,
    createdAt,
    maxActApprox: page.max,
    hasVector: false,
    vector: [],
    vectorLabel: null,
    vectorDefaultSteerStrength: null,
    hookName: source.sae.hook,
    topkCosSimIndices: page.decoderNeighbours.map(({ feature }) => feature),
    topkCosSimValues: page.decoderNeighbours.map(({ value }) => value),
    ...sharedFields(page),
  };
}

/** Lines of activations/batch-N.jsonl: the examples of a feature. */
export function neuronpediaActivations(page: FeaturePage, source: ExportedSource, createdAt: string): object[] {
  return [...binnedExamples(page)].map(({ example, bin }, i) => ({
    id: `${source.modelId}-${source.source}-${page.feature}-${i}`,
    modelId: source.modelId,
    layer: source.source,
    index: String(page.feature),
    creatorId: NAME,
    createdAt,
    tokens: example.tokens,
    values: example.activations,
    maxValue: Math.max(...example.activations),
    maxValueTokenIndex: example.activations.indexOf(Math.max(...example.activations)),
    minValue: Math.min(...example.activations),
    dataIndex: String(example.context),
    dataSource: source.record.corpus,
    binMin: bin.min,
    binMax: bin.max,
    binContains: bin.contains,
    qualifyingTokenIndex: example.peak,
    dfaValues: [],
    dfaTargetIndex: null,
    dfaMaxValue: null,
    lossValues: [],
    logitContributions: null,
    zIndices: [],
    zValues: [],
  }));
}

/** A line of explanations/batch-N.jsonl: the label of a feature. */
export const neuronpediaExplanation = (page: FeaturePage, source: ExportedSource, createdAt: string): object => ({
  id: `${source.modelId}-${source.source}-${page.feature}`,
  modelId: source.modelId,
  layer: source.source,
  index: String(page.feature),
  description: page.label,
  notes: page.note,
  authorId: NAME,
  typeName: null,
  explanationModelName: null,
  createdAt,
});

/** The files around the batches, one line each. */
export function neuronpediaFrame(source: ExportedSource, createdAt: string): Record<string, object> {
  const { modelId, set, record, sae } = source;
  const by = { creatorId: NAME, creatorName: NAME, createdAt };
  const layers = Number(source.source.split('-')[0]) + 1;
  return {
    'model.jsonl': { id: modelId, displayName: record.model.name, displayNameShort: modelId, layers, ...by },
    'sourceset.jsonl': { modelId, name: set, type: sae.architecture, description: sae.path, releaseName: set, ...by },
    'source.jsonl': {
      ...{ id: source.source, modelId, setName: set, hasDashboards: true, ...by },
      ...{
        hookName: sae.hook,
        dataset: record.corpus,
        num_prompts: record.contexts,
        num_tokens_in_prompt: record.context,
      },
      ...{ hfRepoId: null, hfFolderId: null },
    },
    'release.jsonl': { name: set, description: `Features of ${sae.name}, collected by ${record.made_by}`, ...by },
  };
}
