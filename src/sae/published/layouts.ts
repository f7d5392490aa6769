import { Refusal } from '../../errors/refusal.js';
import { baseName, type Layout, type SaeFileNames, type SaePlace } from './layout.js';
import { circuitTracer } from './layouts/circuit_tracer.js';
import { dictionaryLearning } from './layouts/dictionary_learning.js';
import { gemmaScope } from './layouts/gemma_scope.js';
import { gemmaScope2 } from './layouts/gemma_scope_2.js';
import { llamaScope, llamaScopeR1 } from './layouts/llama_scope.js';
import { qwenScope } from './layouts/qwen_scope.js';
import { saelens } from './layouts/saelens.js';
import { sparsify } from './layouts/sparsify.js';

/** Every supported layout. */
export const LAYOUTS: readonly Layout[] = [
  ...[saelens, gemmaScope, gemmaScope2, dictionaryLearning, sparsify],
  ...[llamaScope, llamaScopeR1, qwenScope, circuitTracer],
];

const OF_ONE_LAYER = 'Choose an SAE or a transcoder of one layer.';

/** Known layouts that cannot be represented exactly, recognised by a file name. */
const REFUSED: readonly (readonly [what: string, name: RegExp, remedy: string])[] = [
  ['a cross-layer transcoder', /^(W_(enc|dec)_\d+|params_layer_\d+)\.safetensors$/, OF_ONE_LAYER],
  ['a temporal SAE', /^latest_ckpt\.safetensors$/, OF_ONE_LAYER],
  [
    'a PyTorch file in an unsupported layout, such as those of OpenAI, Goodfire and DeepSeek',
    /(?<!^ae|^layer\d+\.sae)\.(pt|pth)$/,
    'Load it with the library that wrote it, and save it as safetensors in a layout of docs/how-to/published-saes.md.',
  ],
];

export interface FoundSae {
  readonly layout: Layout;
  readonly files: SaeFileNames;
}

/**
 * The layout and the files at a location.
 *
 * @param name of the location, for messages
 * @throws Refusal if two layouts match, or it cannot be represented exactly
 */
export async function findLayout(place: SaePlace, name: string): Promise<FoundSae | undefined> {
  const found: FoundSae[] = [];
  for (const layout of LAYOUTS) {
    const files = await layout.find(place);
    if (files) found.push({ layout, files });
  }
  if (found.length > 1) {
    throw new Refusal(
      `${name} contains SAEs in several layouts (${found.map(({ layout }) => layout.name).join(', ')}).`,
      `Give the weights file: ${found.map(({ files }) => baseName(files.weights!)).join(' or ')}.`,
      'sae/several-layouts',
    );
  }
  if (found.length === 0) await checkNotRefused(place, name);
  return found[0];
}

async function checkNotRefused(place: SaePlace, name: string): Promise<void> {
  const inside = ['W_enc_0.safetensors', 'params_layer_0.safetensors', 'latest_ckpt.safetensors'];
  const names = (await place.has(place.path)) ? [place.path] : [];
  for (const file of inside) if (await place.has(place.path === '' ? file : `${place.path}/${file}`)) names.push(file);
  const told = REFUSED.find(([, pattern]) => names.some((path) => pattern.test(baseName(path))));
  if (!told) return;
  throw new Refusal(`${name} is ${told[0]}, which cannot be represented exactly.`, told[2], 'sae/unsupported-layout');
}
