/** Published settings of `train`, used as defaults below every flag that is given. */
interface Recipe {
  /** Publication. */
  readonly source: string;
  /** By flag name, as on the command line. */
  readonly flags: Readonly<Record<string, string | number | boolean>>;
}

/** No recipe excludes long activations. */
const AS_PUBLISHED = { 'max-activation-norm-multiple': 0 } as const;

/** Settings common to its TopK trainers (trainers/batch_top_k.py). */
const DICTIONARY_LEARNING = {
  ...AS_PUBLISHED,
  ...{ start: 'zero', normalize: 'none', 'b-dec-init': 'geometric-median', lr: 2e-4, warmup: 1000 },
  ...{ beta1: 0.9, beta2: 0.999, 'clip-grad-norm': 1, 'aux-coefficient': 1 / 32, 'dead-window': 10_000_000 },
} as const;

/** Flags not listed keep their own defaults; sizes and lengths (d-sae, k, steps) are never part of a recipe. */
export const RECIPES = {
  'gated-sae': {
    source:
      'Rajamanoharan et al. 2024 (arXiv 2404.16014), appendix D, with λ of the residual stream of Gemma 7B at layer 20, without its resampling',
    flags: {
      ...AS_PUBLISHED,
      ...{ arch: 'gated', start: 'zero', normalize: 'none', 'l1-convention': 'paper', batch: 4096, lr: 3e-4 },
      ...{ l1: 3e-4, warmup: 1000, beta1: 0, beta2: 0.999 },
    },
  },
  'openai-topk': {
    source: 'Gao et al. 2024 (arXiv 2406.04093), appendix A',
    flags: {
      ...AS_PUBLISHED,
      ...{ arch: 'topk', start: 'zero', 'aux-coefficient': 1 / 32, 'dead-window': 10_000_000 },
      ...{ normalize: 'mean-norm', 'b-dec-init': 'geometric-median', beta1: 0.9, beta2: 0.999 },
    },
  },
  'gemma-scope': {
    source:
      'Lieberum et al. 2024 (arXiv 2408.05147), with a linear warm-up and the initialisation of sae-pipe; --l1 must be given',
    flags: {
      ...AS_PUBLISHED,
      ...{ arch: 'jumprelu', start: 'zero', normalize: 'unit-square', 'b-dec-init': 'zero', 'sparsity-loss': 'step' },
      ...{ 'ste-to-encoder': false, bandwidth: 0.001, 'threshold-init': 0.001, batch: 4096, lr: 7e-5 },
      ...{ warmup: 1000, 'l1-warmup': 10_000, beta1: 0, beta2: 0.999 },
    },
  },
  batchtopk: {
    source:
      'dictionary_learning 0.1.0, its BatchTopK trainer, with the learning rate of 16,384 features (2·10⁻⁴ / √(n / 2¹⁴) of n), without its rule for the threshold',
    flags: { arch: 'batchtopk', ...DICTIONARY_LEARNING },
  },
  matryoshka: {
    source:
      'dictionary_learning 0.1.0, its Matryoshka BatchTopK trainer, with the learning rate of 16,384 features (2·10⁻⁴ / √(n / 2¹⁴) of n), without its rule for the threshold; --prefixes must be given',
    flags: { arch: 'matryoshka', ...DICTIONARY_LEARNING },
  },
  'anthropic-jan-2025': {
    source:
      "Anthropic's Circuits Updates of January 2025 as SAELens 6.54.12 has it (JumpReLU with tanh penalty), with SAELens's optimiser; --l1 must be given",
    flags: {
      ...AS_PUBLISHED,
      ...{ arch: 'jumprelu', start: 'zero', 'sparsity-loss': 'tanh', 'tanh-scale': 4, bandwidth: 2 },
      ...{
        'ste-to-encoder': true,
        'threshold-init': 0.1,
        'pre-act-loss': 3e-6,
        normalize: 'mean-norm',
        'b-dec-init': 'zero',
      },
      ...{ 'l1-warmup-share': 1, 'lr-decay': 'linear', 'decay-share': 0.2, lr: 3e-4, warmup: 0, batch: 4096 },
      ...{ beta1: 0.9, beta2: 0.999, 'clip-grad-norm': 1, 'dead-window': 4_096_000 },
    },
  },
} as const satisfies Readonly<Record<string, Recipe>>;
export type RecipeName = keyof typeof RECIPES;
export const recipeNames = Object.keys(RECIPES) as [RecipeName, ...RecipeName[]];

/** All settings of a recipe, with their source. */
export function recipeSentence(name: RecipeName): string {
  const { source, flags } = RECIPES[name];
  const words = Object.entries(flags).map(([flag, value]) =>
    typeof value === 'boolean' ? `--${value ? '' : 'no-'}${flag}` : `--${flag} ${value}`,
  );
  return `Recipe ${name} (${source}), overridden by flags that are given: ${words.join(' ')}.`;
}
