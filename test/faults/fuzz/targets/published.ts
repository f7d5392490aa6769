import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { silent } from '../../../../src/progress/progress.js';
import { saeDirectory } from '../../../../src/sae/published/open.js';
import { openSae, readSae } from '../../../../src/sae/saelens.js';
import { mutateBytes } from '../bytes.js';
import { linkOut } from '../canary.js';
import { oneIn, pick } from '../chance.js';
import { mutateJson } from '../json.js';
import { mutateSafetensors } from '../safetensors.js';
import { bytesOf, type Target } from '../target.js';
import { mutateText } from '../text.js';

const GOLDEN = 'test/golden/published';
const SCOPE = 'google/gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_4';
const SCOPE_2 = 'google/gemma-scope-2-270m-pt/resid_post/layer_1_width_16k_l0_small';
const R1 = 'fnlp/Llama-Scope-R1-Distill/0-Slimpajama-800M-OpenR1-Math-220k/L3R';
const QWEN = 'Qwen/SAE-Res-Qwen3-1.7B-Base-W1K-L0_3/layer5.sae.pt';
const LLAMA = 'fnlp/Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L3R-8x';

/** What `--sae` names, and its files. */
const PLACES: readonly (readonly [reference: string, ...files: string[]])[] = [
  [SCOPE, `${SCOPE}/params.npz`],
  [SCOPE_2, `${SCOPE_2}/params.safetensors`, `${SCOPE_2}/config.json`],
  [LLAMA, `${LLAMA}/hyperparams.json`, `${LLAMA}/checkpoints/final.safetensors`],
  ['dictionary_learning/GatedAutoEncoder', 'dictionary_learning/GatedAutoEncoder/ae.pt'],
  [
    'dictionary_learning/AutoEncoderTopK',
    ...['ae.pt', 'config.json'].map((n) => `dictionary_learning/AutoEncoderTopK/${n}`),
  ],
  ['sparsify/layers.10', 'sparsify/layers.10/cfg.json', 'sparsify/layers.10/sae.safetensors', 'sparsify/config.json'],
  [QWEN, QWEN],
  [R1, `${R1}/config.json`, `${R1}/sae_weights.safetensors`],
  ...['gated', 'version-5-topk'].map(
    (name) =>
      [`saelens/${name}`, ...['cfg.json', 'sae_weights.safetensors'].map((n) => `saelens/${name}/${n}`)] as const,
  ),
  ['circuit_tracer/layer_1.safetensors', 'circuit_tracer/layer_1.safetensors', 'circuit_tracer/config.yaml'],
];

/** SAEs of other publishers' layouts. */
export const published: Target = {
  name: 'published SAE',
  share: 6,
  module: import.meta.url,
  async prepare(directory) {
    for (const name of new Set(PLACES.flatMap(([, ...files]) => files))) {
      cpSync(join(GOLDEN, name), join(directory, name));
    }
    cpSync(
      join(GOLDEN, 'dictionary_learning/GatedAutoEncoder/config.json'),
      join(directory, 'dictionary_learning/GatedAutoEncoder/config.json'),
    );
  },
  mutate(files, random, elsewhere) {
    const [, ...names] = pick(random, PLACES);
    const name = pick(random, names);
    const bytes = bytesOf(files, name);
    if (oneIn(random, 16)) files.set(name, linkOut(random, elsewhere));
    else if (name.endsWith('.json')) files.set(name, mutateJson(String(bytes), random, elsewhere));
    else if (name.endsWith('.yaml')) files.set(name, mutateText(bytes, random));
    else if (name.endsWith('.safetensors')) files.set(name, mutateSafetensors(bytes, random, elsewhere));
    else files.set(name, mutateBytes(bytes, random));
  },
  async read(directory) {
    process.env.SAE_PIPE_CACHE = `${directory}-cache`;
    const results = [];
    for (const [reference] of PLACES) {
      const path = await saeDirectory(join(directory, reference), { offline: true }, silent, { signal: undefined });
      const files = await openSae(path, 'transcoder');
      const { parameters } = await readSae(files);
      results.push([files.architecture, files.forward, files.metadata, [...parameters.W_enc!.subarray(0, 8)]]);
    }
    return JSON.stringify(results);
  },
  command: (directory, out) => ({
    args: [
      'export',
      '--sae',
      join(directory, 'dictionary_learning/GatedAutoEncoder'),
      '--as',
      'jumprelu',
      '--out',
      out,
    ],
  }),
};
