import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { featuresSchema } from '../../src/config/stages/features.js';
import { collectFeatures } from '../../src/features/features.js';
import { silent } from '../../src/progress/progress.js';
import { saveSae } from '../../src/sae/saelens.js';
import { randomSae } from '../sae/random-sae.js';

export const MODEL = 'assets/tiny-gemma';
export const HOOKS = ['blocks.1.hook_resid_post', 'blocks.2.hook_resid_post'] as const;
export const CONTEXT = 24;
export const TEXT =
  'The old man went down to the sea. He looked at the boats and thought of his wife, who was at home.';

/** Features of two random SAEs over one context, all of whose examples are kept. */
export async function collected(root: string): Promise<{ root: string; folder: string }> {
  const corpus = join(root, 'text.txt');
  writeFileSync(corpus, TEXT);
  const saes = [...HOOKS.keys()].map((i) => join(root, `sae-${i}`));
  for (const [i, path] of saes.entries()) {
    const sae = randomSae(i === 0 ? 'gated' : 'topk', 192, 96, i + 1);
    mkdirSync(path);
    await saveSae(path, sae, { hook_name: HOOKS[i]! });
  }
  const folder = join(root, 'features');
  const config = { sae: saes, model: MODEL, corpus, tokens: CONTEXT - 1, context: CONTEXT, out: folder };
  await collectFeatures(featuresSchema.parse(config), silent, { signal: undefined });
  return { root, folder };
}
