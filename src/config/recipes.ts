/** Settings of `train` as someone published them: defaults below every flag that is given. */
interface Recipe {
  /** Where they stand. */
  readonly source: string;
  /** By flag name, as the command line would have them. */
  readonly flags: Readonly<Record<string, string | number>>;
}

/** Flags that are not named have their own defaults; sizes and lengths (d-sae, k, steps) are never named. */
export const RECIPES = {
  'gated-sae': {
    source:
      'Rajamanoharan et al. 2024 (arXiv 2404.16014), appendix D, with λ of the residual stream of Gemma 7B at layer 20, without its resampling',
    flags: {
      ...{ arch: 'gated', start: 'zero', normalize: 'none', 'l1-convention': 'paper', batch: 4096, lr: 3e-4 },
      ...{ l1: 3e-4, warmup: 1000, beta1: 0, beta2: 0.999 },
    },
  },
  'openai-topk': {
    source: 'Gao et al. 2024 (arXiv 2406.04093), appendix A',
    flags: {
      ...{ arch: 'topk', start: 'zero', 'aux-coefficient': 1 / 32, 'dead-window': 10_000_000 },
      ...{ 'b-dec-init': 'geometric-median', beta1: 0.9, beta2: 0.999 },
    },
  },
} as const satisfies Readonly<Record<string, Recipe>>;
export type RecipeName = keyof typeof RECIPES;
export const recipeNames = Object.keys(RECIPES) as [RecipeName, ...RecipeName[]];

/** What a recipe sets, in full, with its source. */
export function recipeSentence(name: RecipeName): string {
  const { source, flags } = RECIPES[name];
  const words = Object.entries(flags).map(([flag, value]) => `--${flag} ${value}`);
  return `Recipe ${name} (${source}), below the flags that are given: ${words.join(' ')}.`;
}
