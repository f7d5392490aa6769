import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSpliceIn } from '../../src/eval/splice-in.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import { openRandomModel, RANDOM_MODELS, writeCheckpoint } from '../lm/random-model.js';
import { temporaryDirectory } from '../temporary.js';

const BOS = 2;

for (const name of RANDOM_MODELS) {
  test(`${name}: clean and zero-ablated losses equal transformers at every kind of site`, async (t) => {
    const { golden, tokens, context, ...model } = await openRandomModel(name);
    const checkpoint = await openCheckpoint(await writeCheckpoint(temporaryDirectory(t), model));
    const contexts = [0, 1].map((index) => ({
      index,
      tokens: tokens.slice(index * context, (index + 1) * context),
      documents: new Uint32Array(context),
    }));
    const nll = await golden.floats('nll');
    // Those that begin with BOS.
    const counted = nll.slice(0, 2 * (context - 1)).filter((_, i) => i % (context - 1) > 0);
    const clean = counted.reduce((sum, x) => sum + x, 0) / counted.length;
    const sites = golden.names.flatMap((tensor) => /^zero\/(.*)/.exec(tensor)?.[1] ?? []);
    assert.ok(sites.length >= 5, sites.join());
    for (const site of sites) {
      const spliceIn = await openSpliceIn(checkpoint, findHook(site, checkpoint.config), [], context, {});
      await spliceIn.add(contexts, BOS, Number.POSITIVE_INFINITY);
      const { ce_clean, ce_zero } = spliceIn.shared();
      const zero = await golden.scalar(`zero/${site}`);
      assert.ok(Math.abs(zero - clean) > 1e-3, `${site} does nothing in the golden`);
      assert.ok(Math.abs(ce_clean - clean) < 1e-4, `${site}: clean ${ce_clean}, not ${clean}`);
      assert.ok(Math.abs(ce_zero - zero) < 1e-4, `${site}: zero ${ce_zero}, not ${zero}`);
      await spliceIn.release();
    }
  });
}
