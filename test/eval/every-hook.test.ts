import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSpliceIn } from '../../src/eval/splice-in.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { hookAt } from '../../src/lm/hooks.js';
import { openRandomModel, writeCheckpoint } from '../lm/random-model.js';
import { nextTokenLosses } from '../lm/run-model.js';
import { temporaryDirectory } from '../temporary.js';

const BOS = 2;

for (const name of ['gemma2-mqa', 'qwen3-biased', 'neox-parallel', 'gpt2-scaled', 'gemma4-e'] as const) {
  test(`${name}: at every hook, one run of all variants loses what runs of one variant lose`, async (t) => {
    const { tokens, context, golden, ...model } = await openRandomModel(name);
    const checkpoint = await openCheckpoint(await writeCheckpoint(temporaryDirectory(t), model));
    // The contexts that begin with BOS, whose place is not replaced.
    const two = tokens.slice(0, 2 * context);
    const contexts = [0, 1].map((index) => ({
      index,
      tokens: two.slice(index * context, (index + 1) * context),
      documents: new Uint32Array(context),
    }));
    const counted = (nll: Float32Array) => nll.filter((_, i) => i % (context - 1) > 0);
    const mean = (values: Float32Array) => values.reduce((sum, x) => sum + x, 0) / values.length;
    const clean = mean(counted((await golden.floats('nll')).slice(0, 2 * (context - 1))));
    const sites = checkpoint.config.hooks.filter(({ name, site, layer }) => layer === 1 || name === site);
    assert.ok(sites.length > 14);
    for (const hook of sites) {
      const spliceIn = await openSpliceIn(checkpoint, hook, [], context, {});
      await spliceIn.add(contexts, BOS, Number.POSITIVE_INFINITY);
      const { ce_clean, ce_zero } = spliceIn.shared();
      await spliceIn.release();
      const zeroed = await nextTokenLosses(checkpoint, two, context, 10, undefined, (g) =>
        hookAt([hook.name], (_, value) => {
          const first = Float32Array.from({ length: context }, (_, position) => Number(position === 0));
          return g.mul(value, g.table('first', [context, 1], first));
        }),
      );
      assert.ok(Math.abs(ce_clean - clean) < 1e-4, `${hook.name}: clean ${ce_clean}, not ${clean}`);
      const alone = mean(counted(zeroed));
      assert.ok(Math.abs(ce_zero - alone) < 1e-4, `${hook.name}: zero ${ce_zero}, not ${alone}`);
      assert.ok(Math.abs(ce_zero - clean) > 1e-4, `${hook.name} does nothing`);
    }
  });
}
