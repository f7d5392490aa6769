import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { trainSchema } from '../../src/config/stages/train.js';
import { silent } from '../../src/progress/progress.js';
import { trainable } from '../../src/sae/registry.js';
import { train } from '../../src/train/train.js';
import { temporaryDirectory } from '../temporary.js';
import { type Change, changedActivations, type Figures, figures } from '../train/changed-activations.js';
import { tinyActivations } from '../train/tiny-activations.js';

const root = temporaryDirectory();
const LONG_FORM = process.env.SAE_PIPE_LONG === '1';
/** Of 4000 rows, two are long: numbers 1999 and 3999. */
const LONG = { long: 5e-4 };
const CHANGES: Record<string, Change> = {
  'γ 30': { gamma: 30 },
  'long rows': LONG,
  ...(LONG_FORM && { 'γ 3': { gamma: 3 }, 'γ 6': { gamma: 6 }, both: { gamma: 6, ...LONG } }),
};
const stores = new Map<string, string>();

before(async () => {
  const store = await tinyActivations(root, 'blocks.2.hook_resid_post', 4000);
  for (const [name, change] of Object.entries({ plain: {}, ...CHANGES })) {
    stores.set(name, changedActivations(store, join(root, `store-${name}`), change));
  }
});

interface Trained extends Figures {
  readonly left: number | undefined;
}

/** With defaults only; the figures are of rows before the first long one. */
async function trained(arch: (typeof trainable)[number], name: string): Promise<Trained> {
  const sizes = arch === 'matryoshka' ? { k: 16, prefixes: [64, 256] } : arch.endsWith('topk') ? { k: 16 } : {};
  const [activations, out] = [stores.get(name)!, join(root, `${arch}-${name}`)];
  const config = trainSchema.parse({
    ...{ activations, arch, dSae: 256, ...sizes },
    ...{ batch: 256, steps: 60, lr: 2e-3, discardState: true, checkpointEvery: '0', out },
  });
  await train(config, silent, { signal: undefined });
  const cfg = JSON.parse(readFileSync(join(out, 'cfg.json'), 'utf8')) as {
    metadata: { sae_pipe: { left_out?: number } };
  };
  return { ...(await figures(out, activations, 1000)), left: cfg.metadata.sae_pipe.left_out };
}

/** `SAE_PIPE_LONG=1` takes every architecture, and every change of each. */
const ARCHITECTURES = LONG_FORM ? trainable : (['gated', 'topk', 'jumprelu'] as const);

for (const arch of ARCHITECTURES) {
  const changes = LONG_FORM || arch === 'gated' ? Object.keys(CHANGES) : ['long rows'];
  test(`${arch}: activations with ${changes.join(', or ')} train to the same`, async () => {
    const plain = await trained(arch, 'plain');
    assert.ok(plain.explainedVariance > 0.2, JSON.stringify(plain));
    assert.equal(plain.left, undefined);
    for (const name of changes) {
      const { long } = CHANGES[name]!;
      const other = await trained(arch, name);
      const both = `${name}: ${JSON.stringify(other)} instead of ${JSON.stringify(plain)}`;
      assert.ok(Math.abs(other.explainedVariance - plain.explainedVariance) < 0.03, both);
      assert.ok(Math.abs(other.l0 / plain.l0 - 1) < 0.1, both);
      assert.ok(Math.abs(other.dead - plain.dead) < 0.03, both);
      // 60 · 256 of rows are seen, not quite four times each.
      if (long === undefined) assert.equal(other.left, undefined, both);
      else assert.ok(other.left! >= 6 && other.left! <= 8, both);
    }
  });
}
