/** Settings of `train` as someone published them: defaults below every flag that is given. */
interface Recipe {
  /** Where they stand. */
  readonly source: string;
  /** By flag name, as the command line would have them. */
  readonly flags: Readonly<Record<string, string | number | boolean>>;
}

/** No recipe leaves long activations out. */
const AS_PUBLISHED = { 'max-activation-norm-multiple': 0 } as const;

/** What its TopK trainers have in common (trainers/batch_top_k.py). */
const DICTIONARY_LEARNING = {
  ...AS_PUBLISHED,
  ...{ start: 'zero', normalize: 'none', 'b-dec-init': 'geometric-median', lr: 2e-4, warmup: 1000 },
  ...{ beta1: 0.9, beta2: 0.999, 'clip-grad-norm': 1, 'aux-coefficient': 1 / 32, 'dead-window': 10_000_000 },
} as const;

/** Flags that are not named have their own defaults; sizes and lengths (d-sae, k, steps) are never named. */
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
      'Lieberum et al. 2024 (arXiv 2408.05147), with a linear warm-up and the initialisation of this program; λ is yours to give',
    flags: {
      ...AS_PUBLISHED,
      ...{ arch: 'jumprelu', start: 'zero', normalize: 'unit-square', 'b-dec-init': 'zero', 'sparsity-loss': 'step' },
      ...{ 'ste-to-encoder': false, bandwidth: 0.001, 'threshold-init': 0.001, batch: 4096, lr: 7e-5 },
      ...{ warmup: 1000, 'l1-warmup': 10_000, beta1: 0, beta2: 0.999 },
    },
  },
  batchtopk: {
    source:
      "dictionary_learning 0.1.0, its BatchTopK trainer, with the learning rate of 16,384 features (2·10⁻⁴ / √(n / 2¹⁴) of n), without its threshold's rule",
    flags: { arch: 'batchtopk', ...DICTIONARY_LEARNING },
  },
  matryoshka: {
    source:
      "dictionary_learning 0.1.0, its Matryoshka BatchTopK trainer, with the learning rate of 16,384 features (2·10⁻⁴ / √(n / 2¹⁴) of n), without its threshold's rule; --prefixes are yours to give",
    flags: { arch: 'matryoshka', ...DICTIONARY_LEARNING },
  },
  'anthropic-jan-2025': {
    source:
      "Anthropic's Circuits Updates of January 2025 as SAELens 6.54.12 has it (JumpReLU with tanh penalty), with SAELens's optimiser; λ is yours to give",
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

/** What a recipe sets, in full, with its source. */
export function recipeSentence(name: RecipeName): string {
  const { source, flags } = RECIPES[name];
  const words = Object.entries(flags).map(([flag, value]) =>
    typeof value === 'boolean' ? `--${value ? '' : 'no-'}${flag}` : `--${flag} ${value}`,
  );
  return `Recipe ${name} (${source}), below the flags that are given: ${words.join(' ')}.`;
}
