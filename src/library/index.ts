/**
 * The library interface of sae-pipe: model activations, stores of them, SAEs, and operations on these three. Names are
 * those of TransformerLens and SAELens, in camel case.
 *
 * Exports follow semantic versioning: before 1.0.0, a minor version may change them, as noted in the changelog; a patch
 * never does. Nothing else in the package is public.
 *
 * @module
 */

export type { RefusalCode } from '../errors/codes.js';
export { Interrupted, Refusal, UsageRefusal } from '../errors/refusal.js';
export type { EvalRecord } from '../eval/record.js';
export type { Ending } from '../generate/continuation.js';
export { Activations } from './activations.js';
export { ActivationsStore, ActivationsStream, type BatchOptions, type StoredRows } from './activations-store.js';
export { bundled } from './bundled.js';
export { type EvaluateOptions, evaluateSAEs } from './evaluate-saes.js';
export type { FeatureIntervention, GeneratedText, GenerateOptions, SteeredText, SteerOptions } from './generation.js';
export { type HarvestOptions, harvestActivations } from './harvest-activations.js';
export {
  type CachedRun,
  HookedTransformer,
  type HookedTransformerConfig,
  type HookPoint,
  type ModelOptions,
} from './hooked-transformer.js';
export type { RunOptions } from './run-options.js';
export { SAE, type SAEConfig, type SAEOptions, type SAEOutput } from './sae.js';
export {
  type FeatureOfText,
  type FiringFeature,
  type TokenFeatures,
  type TopFeatures,
  type TopFeaturesOptions,
  topFeatures,
} from './top-features.js';
export { type ArchitectureOptions, type CollectedActivations, type TrainOptions, trainSAE } from './train-sae.js';
