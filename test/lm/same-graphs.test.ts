import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { test } from 'node:test';
import { spliceGraph } from '../../src/eval/splice-graph.js';
import { harvestGraph } from '../../src/harvest/forward-pass.js';
import { type Checkpoint, openCheckpoint } from '../../src/lm/checkpoint.js';
import type { Placement } from '../../src/lm/placement.js';
import { temporaryDirectory } from '../temporary.js';
import { openRandomModel, RANDOM_GEMMAS, writeCheckpoint } from './random-model.js';
import { lossGraph } from './run-model.js';

/** Each has another form of attention, or other casts. */
const PLACEMENTS: Placement[] = [
  { device: 'cpu', precision: 'float32' },
  { device: 'cpu', precision: 'float16' },
  { device: 'cuda', precision: 'bfloat16' },
  { device: 'webgpu', precision: 'float32' },
];

/**
 * SHA-256 of the encoded graphs as version 0.9 wrote them, of each model: harvest, splice-in, losses; and its fingerprint.
 * Splice-in sums squares by dimension since, and a harvest gives out the largest entry for float16 stores alone; without
 * that output, and with that one, their bytes are those of 0.9, too.
 */
const BEFORE: Record<string, readonly [harvest: string, spliceIn: string, losses: string, fingerprint: string]> = {
  'tiny-gemma': [
    '5396a0e453f4bb2dc13be5ac9cb052cf65ed87b31a31d3a2bb65bc850f46c46d',
    '6fe7bb51bb55423764b7c8d0ece886e1ed098c3f8c9cad682aa81df7e424a68e',
    'e7f48fa89c1280678aa754c50caac16ba9d8f7c7e7f38e49310b11764518186d',
    '2:b548a05363f4ac3bf400194922303815ef7ddd8a4887ab9af6f053f7d67a2e11',
  ],
  'gemma-mqa': [
    'ea12d9201526634322cf2d30223fd7619b8e7eda896beba94b2619a75b07f958',
    '72e83d9f621c9d5857a282375881c0ae26edd6415e9cf71719bda0b46a8fcf8f',
    '61909d90ce2fdf0ddbccce1aee9fa1a5e99e14df64bc1306ea1d26992b37a862',
    '2:fcac5775acad72a5db728050228c5db0babf849ce4cdf72faa5690fb53de9ec4',
  ],
  'gemma-gqa': [
    '5e3880b22eb448acd25d7bea2ea1619ae721bcd73cf1d5bc0551a6e0e9a4be16',
    '1a4cd7433aba0a585efaa99b219132462227b00510cc9a3e7a2dbcd9aea8a1eb',
    'dc1918cc4b22050ab07ab891c8d1295b5f4ceb58fe5223c205615c9e7e49e503',
    '2:edc7d6fdbf493fb8b301e0c969b7b6ddbfdb61835b23d5653276df5e8d04e564',
  ],
  'gemma2-mqa': [
    '002a9ce80a30bfab1e4b171e09130e455624c73bf8767216803bd6b6d2ce7df0',
    '30f9e82991d31d7df5beeaa2ba8689edebd2b7a310470c6d076d8303ab9cc557',
    '515189352855c8d5b3846f02a6384f5015ce545f5c50da63959e2ad32d0f7f72',
    '2:72ade6d32390efe27a03609d0a73d3f07b955d6a655ef0dd789588ca708b8118',
  ],
  'gemma2-gqa': [
    '025f6c73f30a00cd803a10791c41d7692d6dfb2a05c1bcbd48506f619cb64646',
    'b7142c4acf212b533517f80718b4919c655351a93a15bc91597174be89882dc2',
    '0e5c5171a8d41adf439e1daff9c1cfb2f85506524595fdad54d4590f6fc261d9',
    '2:6ba202243c886a244bd8592a6cf6001c1e0ee51ac71c5ad45ac441be5d05b5eb',
  ],
  'gemma3-mqa': [
    '983d14dd9ce30943c2ae953aef54759b87a085ab69c12d1b9bedeeda7b5ba8bb',
    'bb88f945267e1f318d72a8c1cef36d25d2b78f90e8e2f15a8f7a24ffec7e0092',
    'f64358523ad0181558eb3e6c9efe30b0a831373351d4551d35748e133e7fedf2',
    '2:261cf4bfcaa7013c6141e715d38eb1bf7810676cca662b47e9523b83899171f6',
  ],
  'gemma3-gqa': [
    'fe57dd59a690df158c37e7fad1b90240e1a25d8ca4063afc88552373eb56b1f8',
    '18d1d3c47533a960c61a11d4877925e846baa817e2b35d4a7921f49d29a75bf1',
    '03ea4c105e6439f29352f864bfcdc0cb9928d1a9bec68148beba769a49103dcf',
    '2:d293a908459af354c8fa52c1ccdbff90175377a581f7e9ba88de54a51132ab81',
  ],
};

/** The checkpoint as if its files lay in /model: their paths are part of a graph. */
function placed(checkpoint: Checkpoint): Checkpoint {
  const tensors = [...checkpoint.tensors].map(
    ([name, location]) => [name, { ...location, path: `/model/${basename(location.path)}` }] as const,
  );
  return { ...checkpoint, tensors: new Map(tensors) };
}

/** Digests of a model's graphs: long contexts with chunks and windows, and short ones. */
function digests(checkpoint: Checkpoint) {
  // Version 0.9 had none of these.
  const later = ['hook_embed', 'ln1.hook_normalized', 'attn.hook_q', 'attn.hook_k', 'attn.hook_v', 'mlp.hook_in'];
  const norms = ['ln2.hook_normalized', 'ln_final.hook_normalized'];
  const hooks = checkpoint.config.hooks.filter(({ site }) => ![...later, ...norms].includes(site));
  const of = (graphs: Iterable<Uint8Array>) => {
    const hash = createHash('sha256');
    for (const graph of graphs) hash.update(graph);
    return hash.digest('hex');
  };
  function* harvest() {
    for (const hook of hooks) yield harvestGraph(checkpoint, [hook], 7, 'float16', PLACEMENTS[0]!);
    for (const placement of PLACEMENTS) yield harvestGraph(checkpoint, hooks, 300, 'float32', placement);
  }
  function* spliceIn() {
    for (const hook of hooks) yield spliceGraph(checkpoint, hook, [], 16, PLACEMENTS[0]!, { meanAblation: true });
    for (const placement of PLACEMENTS) yield spliceGraph(checkpoint, hooks[4]!, [], 300, placement);
  }
  function* losses() {
    for (const placement of PLACEMENTS) yield lossGraph(checkpoint, 300, placement);
  }
  return [of(harvest()), of(spliceIn()), of(losses()), checkpoint.fingerprint];
}

for (const name of ['tiny-gemma', ...RANDOM_GEMMAS] as const) {
  test(`${name}: its graphs are byte for byte as recorded`, async (t) => {
    const directory =
      name === 'tiny-gemma'
        ? 'assets/tiny-gemma'
        : await writeCheckpoint(temporaryDirectory(t), await openRandomModel(name));
    assert.deepEqual(digests(placed(await openCheckpoint(directory))), BEFORE[name]);
  });
}
