import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSpliceIn } from '../../src/eval/splice-in.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import { type Change, factorsOf } from '../../src/sae/feature-changes.js';
import { PLAIN } from '../../src/sae/sae.js';
import type { SaeFiles } from '../../src/sae/saelens.js';
import { refuses } from '../config/refuses.js';
import { openGolden } from '../golden.js';
import { CONTEXT, goldenContexts, goldenSae } from './golden-sae.js';

const BOS = 2;
const ALL = Number.POSITIVE_INFINITY;
const checkpoint = await openCheckpoint('assets/tiny-gemma');
const golden = await openGolden('steering');
const hookOf = (name: string) => findHook(name, checkpoint.config);
const SITES = {
  gated: [hookOf('blocks.2.hook_resid_post'), hookOf('blocks.2.hook_resid_post')],
  transcoder: [hookOf('blocks.2.mlp.hook_in'), hookOf('blocks.2.hook_mlp_out')],
} as const;

/** The transcoder of the golden. */
const transcoder: SaeFiles = {
  ...{ directory: 'golden', architecture: 'standard', dIn: 192, dOut: 192, dSae: 24, metadata: {}, cfg: {} },
  ...{ transcoder: true, forward: { ...PLAIN, apply_b_dec_to_input: false } },
  tensors: Object.fromEntries(
    ['W_enc', 'W_dec', 'b_dec', 'b_enc'].map((name) => [name, golden.location(`transcoder/${name}`)]),
  ),
};

async function changesOf(name: string, operation: 'set' | 'ablate'): Promise<Change[]> {
  const numbers = [...(await golden.ints(`features/${name}`))].filter((_, i) => i % 2 === 0);
  return numbers.map((feature) => ({ sae: 0, feature, operation, strength: operation === 'set' ? 3 : 0 }));
}

for (const [name, sae] of [
  ['gated', goldenSae('gated')],
  ['transcoder', transcoder],
] as const) {
  test(`${name}: losses with features changed are those of PyTorch's hooks`, async () => {
    const [input, hook] = SITES[name];
    for (const operation of ['set', 'ablate'] as const) {
      const changes = [factorsOf(await changesOf(name, operation))];
      const spliceIn = await openSpliceIn(checkpoint, hook, [sae], CONTEXT, { inputs: [input], changes });
      await spliceIn.addToMean(goldenContexts([0, 1]), BOS, ALL);
      await spliceIn.add(goldenContexts([0, 1]), BOS, ALL);
      const { changed_features: found, ce_clean, ce_spliced } = spliceIn.metrics()[0]!;
      await spliceIn.release();
      const [ce, kl, tokens] = (await golden.doubles(`${name}/worth/${operation}`)) as unknown as [
        number,
        number,
        number,
      ];
      assert.equal(found!.features, 3);
      assert.equal(found!.tokens, tokens);
      assert.ok(Math.abs(found!.ce - ce) < 1e-4, `${found!.ce}, not ${ce}`);
      assert.ok(Math.abs(found!.kl / kl - 1) < 1e-2 || Math.abs(found!.kl - kl) < 1e-5, `${found!.kl}, not ${kl}`);
      assert.ok(Math.abs(found!.delta_ce - (found!.ce - ce_clean)) < 1e-9);
      assert.notEqual(found!.ce, ce_spliced);
      const { ce: whole, delta_ce } = found!.intervals;
      assert.ok(whole[0] <= found!.ce && found!.ce <= whole[1]);
      assert.ok(delta_ce[0] <= found!.delta_ce && found!.delta_ce <= delta_ce[1]);
    }
  });
}

test('each of several SAEs has only its own changes', async () => {
  const [, hook] = SITES.gated;
  const saes = [goldenSae('standard'), goldenSae('gated')];
  const [own, nothing] = [factorsOf(await changesOf('gated', 'ablate')), { features: [3], scale: [1], shift: [0] }];
  const measured = async (changes: readonly (typeof own | null)[]) => {
    const spliceIn = await openSpliceIn(checkpoint, hook, saes, CONTEXT, { changes, meanAblation: true });
    await spliceIn.addToMean(goldenContexts([0]), BOS, ALL);
    await spliceIn.add(goldenContexts([0]), BOS, ALL);
    const metrics = spliceIn.metrics();
    await spliceIn.release();
    return metrics;
  };
  const [without, alone] = await measured([null, own]);
  assert.equal(without!.changed_features, null);
  const [unchanged, both] = await measured([nothing, own]);
  assert.ok(Math.abs(alone!.changed_features!.ce - both!.changed_features!.ce) < 1e-6);
  assert.ok(Math.abs(alone!.kl / both!.kl - 1) < 1e-5);
  // f stays f: no position changes, and no loss beyond rounding.
  assert.equal(unchanged!.changed_features!.tokens, 0);
  assert.ok(Math.abs(unchanged!.changed_features!.delta_ce) < 1e-6);
});

test('a strength that overflows is refused', async () => {
  const [, hook] = SITES.gated;
  const changes = [{ features: [3], scale: [0], shift: [1e38] }];
  const spliceIn = await openSpliceIn(checkpoint, hook, [goldenSae('gated')], CONTEXT, { changes });
  await spliceIn.addToMean(goldenContexts([0]), BOS, ALL);
  await refuses(() => spliceIn.add(goldenContexts([0]), BOS, ALL), 'generate/not-finite', 'golden');
  await spliceIn.release();
});
