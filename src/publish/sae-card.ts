import { shellWord } from '../config/shell-word.js';
import { type EvalRecord, hasNoBos } from '../eval/record.js';
import { significant } from '../progress/progress.js';
import type { writtenLayouts } from '../sae/published/written-layouts.js';
import type { SaeFiles } from '../sae/saelens.js';
import { type TrainingRecord, trainingRecordOf } from '../sae/training-record.js';
import type { Destination } from './destination.js';
import { publicName } from './machine-paths.js';
import { block, card, code, type Row, table, whole } from './markdown.js';

/** Inputs of an SAE's card: its configuration and evaluation, and the user's additions. */
export interface SaeFacts {
  readonly sae: SaeFiles;
  readonly record?: EvalRecord;
  readonly to: Destination;
  readonly layout: (typeof writtenLayouts)[number];
  /** Can SAELens load it as pushed? */
  readonly inSaelens: boolean;
  readonly license?: string;
  /** owner/name on the hub. */
  readonly baseModel?: string;
}

/** The model card of an SAE. Numbers come from its files; missing information is omitted. */
export function saeCard(facts: SaeFacts): string {
  const { sae, record, to, license, baseModel, layout, inSaelens } = facts;
  const kind = sae.transcoder ? 'transcoder' : 'sparse autoencoder';
  const matter = {
    license,
    library_name: inSaelens ? 'saelens' : layout === 'saelens' ? 'sae-pipe' : layout,
    base_model: baseModel,
    tags: ['sparse-autoencoder', ...(sae.transcoder ? ['transcoder'] : []), 'mechanistic-interpretability', 'sae-pipe'],
  };
  const made = trainingRecordOf(sae.cfg);
  return card(matter, [
    `# ${to.path === '' ? to.repository.split('/')[1] : to.path}`,
    `A ${sae.architecture} ${kind} with ${whole(sae.dSae)} features, trained on activations of ${modelOf(facts)}.`,
    table(['', ''], identity(facts)),
    ...data(sae, made),
    ...training(made),
    ...metrics(record),
    ...loading(facts),
  ]);
}

const modelOf = ({ sae, baseModel }: SaeFacts) =>
  baseModel === undefined
    ? code(publicName(sae.metadata.model_name ?? 'an unknown model'))
    : `[${baseModel}](https://huggingface.co/${baseModel})`;

function identity(facts: SaeFacts): Row[] {
  const { sae, layout } = facts;
  const { metadata, forward } = sae;
  const { hook_name: hook, hook_name_out: hookOut, model_fingerprint: fingerprint } = metadata;
  return [
    ['architecture', code(sae.architecture)],
    ['model', modelOf(facts)],
    ...(fingerprint ? [['fingerprint of the model', code(fingerprint)] as const] : []),
    ...(hook ? [['hook', code(hook)] as const] : []),
    ...(hookOut ? [['hook of the target', code(hookOut)] as const] : []),
    ['width of the hook', whole(sae.dIn)],
    ...(sae.dOut === sae.dIn ? [] : [['width of the target', whole(sae.dOut)] as const]),
    ['features', whole(sae.dSae)],
    ...(forward?.k === undefined ? [] : [['k', whole(forward.k)] as const]),
    ['b_dec is subtracted from the input', forward?.apply_b_dec_to_input === false ? 'no' : 'yes'],
    ['layout', code(layout)],
  ];
}

/** Its training data, according to its configuration. */
function data({ metadata }: SaeFiles, { activations, tokens, left_out: leftOut }: TrainingRecord): string[] {
  const { context_size: context, prepend_bos: bos, exclude_special_tokens: excluded } = metadata;
  const { skip, most, holdout } = activations?.documents ?? {};
  const rows: Row[] = [
    ...(activations ? [['corpus', code(publicName(activations.corpus))] as const] : []),
    ...(skip === undefined ? [] : [['documents skipped', whole(skip)] as const]),
    ...(most === undefined ? [] : [['max documents read', whole(most)] as const]),
    ...(holdout === undefined ? [] : [['documents held out', code(holdout)] as const]),
    ...(tokens === undefined ? [] : [['tokens', whole(tokens)] as const]),
    ...(activations ? [['stored activations', `${whole(activations.rows)}, ${code(activations.dtype)}`] as const] : []),
    ...(context === undefined ? [] : [['tokens per context', whole(context)] as const]),
    ...(bos === undefined ? [] : [['contexts begin with BOS', bos ? 'yes' : 'no'] as const]),
    ...(excluded === undefined ? [] : [['special tokens left out', code(JSON.stringify(excluded))] as const]),
    ...(leftOut ? [['activations left out because of their norm', whole(leftOut)] as const] : []),
  ];
  return rows.length === 0 ? [] : ['## Data', table(['', ''], rows)];
}

/** Keys of the record that are shown elsewhere, or refer to local files. */
const NOT_SETTINGS = ['activations', 'final', 'init', 'init_sha256', 'text', 'tokens', 'left_out', 'trained_further'];

function training(made: TrainingRecord): string[] {
  const settings = Object.entries(made).filter(
    ([key, value]) => !NOT_SETTINGS.includes(key) && value !== null && value !== undefined && !isEmptyList(value),
  );
  if (settings.length === 0) return ['Its configuration does not say how it was trained.'];
  const rows = settings.map(([key, value]): Row => [key, code(shown(value))]);
  return [
    '## Training',
    'Settings as sae-pipe records them in cfg.json, under `metadata.sae_pipe`.',
    table(['setting', 'value'], rows),
  ];
}

const isEmptyList = (value: unknown) => Array.isArray(value) && value.length === 0;
const shown = (value: unknown) => (typeof value === 'string' ? publicName(value) : JSON.stringify(value));

/** Metrics of the card with their descriptions, in order. */
const METRICS = [
  ['l0', 'L0: active features per token'],
  ['loss_recovered', 'loss recovered, against zero ablation'],
  ['loss_recovered_mean', 'loss recovered, against mean ablation'],
  ['delta_ce', 'increase of the cross-entropy (nats)'],
  ['ce_clean', 'cross-entropy of the model (nats)'],
  ['ce_spliced', 'cross-entropy with the reconstruction (nats)'],
  ['ce_zero', 'cross-entropy with zeros (nats)'],
  ['kl', 'KL divergence of the predictions (nats)'],
  ['explained_variance', 'explained variance'],
  ['mse', 'mean squared error, summed over dimensions'],
  ['cosine', 'cosine of activation and reconstruction'],
  ['relative_reconstruction_bias', 'relative reconstruction bias γ (below 1: shrinkage)'],
  ['dead_fraction', 'share of features never active'],
  ['dense_fraction', 'share of features active on more than a tenth of the tokens'],
] as const;

function metrics(record: EvalRecord | undefined): string[] {
  if (!record) return [];
  const { tokens, contexts, settings, intervals = {} } = record;
  const rows = METRICS.flatMap(([key, name]): Row[] => {
    const value = record[key];
    if (typeof value !== 'number' || !Number.isFinite(value)) return [];
    const [low = Number.NaN, high = Number.NaN] = intervals[key] ?? [];
    const interval = Number.isFinite(low + high) ? `${significant(low, 4)} to ${significant(high, 4)}` : '';
    return [[name, significant(value, 4), interval]];
  });
  const from = contexts === undefined ? '' : ` from ${whole(contexts)} contexts`;
  const corpus = settings ? ` of ${code(publicName(settings.corpus))}` : '';
  const version = settings ? ` (sae-pipe ${settings.version})` : '';
  const bos = hasNoBos(record) ? 'Contexts do not begin with BOS.' : 'Means exclude BOS positions.';
  const why = Object.entries(record.reasons ?? {}).map(([key, reason]) => `No ${code(key)}: ${code(reason)}.`);
  return [
    '## Metrics',
    `Measured with the reconstruction in place of the activation, on ${whole(tokens)} tokens${from}${corpus}${version}. ${bos} Intervals: 95 %, bootstrap over contexts.`,
    table(['metric', 'value', '95 % interval'], rows),
    ...why,
    'The complete evaluation, including histograms, is in `eval.json`.',
  ];
}

function loading({ sae, to, layout, inSaelens, baseModel }: SaeFacts): string[] {
  const reference = to.path === '' ? to.repository : `${to.repository}/${to.path}`;
  const model = baseModel ?? 'OWNER/MODEL';
  const command = `sae-pipe eval --sae ${shellWord(reference)} --model ${model} --corpus text.jsonl --out runs/eval`;
  const convert = `sae-pipe convert ${shellWord(reference)} --as saelens --out sae`;
  const elsewhere =
    layout === 'saelens' ? `SAELens has no class for this ${sae.architecture}` : `Its layout is ${layout}`;
  return [
    '## How to load it',
    ...(inSaelens
      ? ['In SAELens:', saelensCode(to)]
      : [`${elsewhere}; if SAELens supports the SAE, this makes a copy for it:`, block('sh', convert)]),
    'In sae-pipe, any command that takes `--sae`:',
    block('sh', command),
  ];
}

/** SAELens loads a folder of a repository; for one at the root, it loads the files. */
function saelensCode({ repository, path }: Destination): string {
  const name = JSON.stringify(repository);
  return path === ''
    ? block(
        'python',
        'from huggingface_hub import snapshot_download',
        'from sae_lens import SAE',
        '',
        `sae = SAE.load_from_disk(snapshot_download(${name}))`,
      )
    : block('python', 'from sae_lens import SAE', '', `sae = SAE.from_pretrained(${name}, ${JSON.stringify(path)})`);
}
