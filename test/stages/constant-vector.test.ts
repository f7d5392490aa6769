import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { trainSchema } from '../../src/config/stages/train.js';
import { silent } from '../../src/progress/progress.js';
import { trainable } from '../../src/sae/registry.js';
import { train } from '../../src/train/train.js';
import { temporaryDirectory } from '../temporary.js';
import { changedActivations, type Figures, figures } from '../train/changed-activations.js';
import { tinyActivations } from '../train/tiny-activations.js';

const root = temporaryDirectory();
const GAMMAS = [0, 30];
let stores: string[];

before(async () => {
  const store = await tinyActivations(root, 'blocks.2.hook_resid_post', 4000);
  stores = GAMMAS.map((gamma) => changedActivations(store, join(root, `store-${gamma}`), { gamma }));
});

async function trained(arch: (typeof trainable)[number], store: string): Promise<Figures> {
  const sizes = arch === 'matryoshka' ? { k: 16, prefixes: [64, 256] } : arch.endsWith('topk') ? { k: 16 } : {};
  const out = join(root, `${arch}-${stores.indexOf(store)}`);
  const config = trainSchema.parse({
    ...{ activations: store, arch, dSae: 256, normalize: 'per-dimension', ...sizes },
    ...{ batch: 256, steps: 60, lr: 2e-3, discardState: true, checkpointEvery: '0', out },
  });
  await train(config, silent, { signal: undefined });
  return figures(out, store, 1000);
}

for (const arch of trainable) {
  test(`${arch}: a constant vector on all activations does not change what training per dimension comes to`, async () => {
    const [plain, other] = [await trained(arch, stores[0]!), await trained(arch, stores[1]!)];
    const both = `${JSON.stringify(other)} instead of ${JSON.stringify(plain)}`;
    assert.ok(plain.explainedVariance > 0.2, both);
    assert.ok(Math.abs(other.explainedVariance - plain.explainedVariance) < 0.03, both);
    assert.ok(Math.abs(other.l0 / plain.l0 - 1) < 0.1, both);
    assert.ok(Math.abs(other.dead - plain.dead) < 0.03, both);
  });
}
