import { didYouMean, plainName } from '../errors/nearest.js';
import { flagsOf } from './flags.js';
import { STAGES, type StageName } from './stages.js';

/** Commands under other names: their section's, another tool's, or a description of what they do. */
const COMMANDS_ELSEWHERE: Readonly<Record<string, StageName>> = {
  training: 'train',
  fit: 'train',
  evaluate: 'eval',
  evaluation: 'eval',
  evals: 'eval',
  cache: 'harvest',
  'cache-activations': 'harvest',
  collect: 'harvest',
  extract: 'harvest',
  plot: 'figure',
  dashboard: 'watch',
  dashboards: 'explore',
  browse: 'explore',
  neuronpedia: 'export-features',
  check: 'doctor',
  jobs: 'status',
  ps: 'status',
};

/**
 * The remedy for a flag or key that a stage does not have: the flag probably meant, spelled as it would be here, or the
 * commands that have it.
 *
 * @param label how to spell a name in this context
 */
export function insteadOfFlag(stage: StageName, name: string, label: (name: string) => string): string {
  const names = flagsOf(STAGES[stage]).map((flag) => flag.name);
  const foreign = flagFor(name, names);
  if (foreign && !names.some((known) => plainName(known) === plainName(name))) {
    return `Did you mean ${label(foreign.flag)}?${foreign.note === undefined ? '' : ` ${foreign.note}`}`;
  }
  const elsewhere = stagesWith(name);
  if (elsewhere.length > 0 && !names.some((known) => plainName(known) === plainName(name))) {
    return `It belongs to ${listed(elsewhere)}. See sae-pipe ${stage} --help.`;
  }
  return didYouMean(name, names, label) ?? `See sae-pipe ${stage} --help.`;
}

/** The command or configuration section probably meant; undefined if none is close. */
export function insteadOfStage(name: string): string | undefined {
  const meant = Object.hasOwn(COMMANDS_ELSEWHERE, name.toLowerCase()) && COMMANDS_ELSEWHERE[name.toLowerCase()];
  return meant ? `Did you mean ${meant}?` : didYouMean(name, Object.keys(STAGES));
}

/** a, b and c. */
export function listed(names: readonly string[], last = 'and'): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} ${last} ${names.at(-1)}`;
}

function stagesWith(name: string): string[] {
  const stages = Object.entries(STAGES).filter(([, schema]) =>
    flagsOf(schema).some((flag) => plainName(flag.name) === plainName(name)),
  );
  return stages.map(([stage]) => stage);
}

/**
 * Other tools' names of settings: the flags that may be meant (the first that the command has is used), and any
 * difference.
 */
interface Foreign {
  readonly ours: readonly string[];
  readonly note?: string;
}

const LAYER = 'The layer is part of the hook’s name, blocks.LAYER.SITE.';

/**
 * Settings of SAELens 6 (LanguageModelSAERunnerConfig, the architectures' training configurations and
 * CacheActivationsRunnerConfig; some of version 3), dictionary_learning 0.1, sparsify 1.3 and transformers, under their
 * own names in snake case. Names that sae-pipe shares are omitted.
 */
const FOREIGN: Readonly<Record<string, readonly string[] | Foreign>> = {
  // SAELens
  architecture: ['arch'],
  l1_coefficient: ['l1'],
  l1_warm_up_steps: ['l1-warmup'],
  aux_loss_coefficient: ['aux-coefficient'],
  lr_warm_up_steps: ['warmup'],
  lr_decay_steps: ['decay-steps'],
  lr_scheduler_name: ['lr-decay'],
  adam_beta1: ['beta1'],
  adam_beta2: ['beta2'],
  train_batch_size_tokens: ['batch'],
  training_tokens: ['tokens'],
  context_size: ['context'],
  model_name: ['model'],
  hook_name: ['hook'],
  hook_point: ['hook'],
  hook_layer: { ours: ['hook'], note: LAYER },
  hook_point_layer: { ours: ['hook'], note: LAYER },
  dataset_path: ['corpus'],
  column_name: ['text-field'],
  dead_feature_window: ['dead-window'],
  store_batch_size_prompts: ['contexts-per-pass', 'batch'],
  model_batch_size: ['contexts-per-pass', 'batch'],
  eval_batch_size_prompts: ['batch'],
  n_batches_in_buffer: ['pool-rows', 'window-rows'],
  buffer_size_gb: ['rows-per-shard'],
  llm_device: ['model-device', 'device'],
  act_store_device: ['model-device', 'device'],
  autocast_lm: ['precision'],
  normalize_activations: ['normalize'],
  b_dec_init_method: ['b-dec-init'],
  d_active_subspace: ['init-subspace'],
  expansion_factor: { ours: ['d-sae'], note: '--d-sae is that factor times the width of the hook.' },
  cached_activations_path: ['activations'],
  new_cached_activations_path: ['out'],
  from_pretrained_path: ['init'],
  n_checkpoints: ['checkpoint-every'],
  checkpoint_path: ['out'],
  output_path: ['out'],
  resume_from_checkpoint: ['resume'],
  wandb_log_frequency: ['log-every'],
  hf_revision: ['revision'],
  // dictionary_learning
  activation_dim: { ours: ['hook'], note: 'The width follows from the hook.' },
  d_in: { ours: ['hook'], note: 'The width follows from the hook.' },
  dict_size: ['d-sae'],
  l1_penalty: ['l1'],
  sparsity_penalty: ['l1'],
  sparsity_warmup_steps: ['l1-warmup'],
  warmup_steps: ['warmup'],
  decay_start: ['decay-steps'],
  resample_steps: ['resample-at'],
  lm_name: ['model'],
  layer: { ours: ['hook'], note: LAYER },
  submodule_name: ['hook'],
  ctx_len: ['context'],
  n_ctxs: ['pool-rows', 'window-rows'],
  refresh_batch_size: ['contexts-per-pass', 'batch'],
  out_batch_size: ['batch'],
  log_steps: ['log-every'],
  save_steps: ['checkpoint-every'],
  save_dir: ['out'],
  remove_bos: { ours: ['prepend-bos'], note: 'Positions of a prepended BOS are always left out.' },
  // sparsify
  num_latents: ['d-sae'],
  lr_warmup_steps: ['warmup'],
  dead_feature_threshold: ['dead-window'],
  hookpoints: ['hook'],
  layers: { ours: ['hook'], note: LAYER },
  init_seeds: ['seed'],
  shuffle_seed: ['seed'],
  save_every: ['checkpoint-every'],
  finetune: ['init'],
  dataset: ['corpus'],
  text_column: ['text-field'],
  auxk_alpha: ['aux-coefficient'],
  // common names
  batch_size: ['batch'],
  learning_rate: ['lr'],
  max_steps: ['steps'],
  num_steps: ['steps'],
  n_steps: ['steps'],
  max_tokens: ['tokens'],
  num_tokens: ['tokens'],
  n_tokens: ['tokens'],
  context_length: ['context'],
  seq_len: ['context'],
  max_length: ['context'],
  max_seq_len: ['context'],
  n_features: ['d-sae'],
  num_features: ['d-sae'],
  d_hidden: ['d-sae'],
  lambda: ['l1'],
  hidden_dim: ['d-sae'],
  model_path: ['model'],
  model_id: ['model'],
  data: ['corpus'],
  data_path: ['corpus'],
  dataset_name: ['corpus'],
  text_key: ['text-field'],
  output: ['out'],
  output_dir: ['out'],
  out_dir: ['out'],
  sae_path: ['sae'],
  force: ['overwrite'],
  local_files_only: ['offline'],
  torch_dtype: ['precision'],
  num_threads: ['threads'],
  num_workers: ['threads'],
};

const BY_PLAIN = new Map(Object.entries(FOREIGN).map(([name, foreign]) => [plainName(name), foreign]));

/**
 * The flag that corresponds to another tool's name, in any spelling (l1_coefficient, --l1-coefficient, l1Coefficient).
 *
 * @param names flags that may be suggested
 * @returns undefined if no tool has such a name, or no flag corresponds
 */
export function flagFor(
  name: string,
  names: readonly string[],
): { flag: string; note: string | undefined } | undefined {
  const found = BY_PLAIN.get(plainName(name));
  if (found === undefined) return undefined;
  const { ours, note } = 'ours' in found ? found : { ours: found, note: undefined };
  const flag = ours.find((one) => names.includes(one));
  return flag === undefined ? undefined : { flag, note };
}
