import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recordedLambda } from '../../src/report/entries.js';
import { entries } from './sample.js';

/** The cfg.json of an SAE that was trained here with these settings. */
const trained = (sae_pipe: Record<string, unknown>) => ({
  metadata: { sae_pipe: { l1: 3, d_sae: 512, seed: 0, lr: 1e-3, ...sae_pipe, final: { l1: Math.random() } } },
});
const names = (...changes: Parameters<typeof entries>) => entries(...changes).map(({ name }) => name);

test('SAEs are named by family and λ, whatever their directories are called', () => {
  const found = names(
    { sae: 'x/1', cfg: trained({ l1: 3 }), l0: 9 },
    { sae: 'x/2', cfg: trained({ l1: 0.5 }), l0: 50 },
    { sae: 'x/3', architecture: 'standard', cfg: trained({ l1: 3 }) },
  );
  assert.deepEqual(found, ['gated, λ\u00a00.5', 'gated, λ\u00a03', 'standard, λ\u00a03']);
});

test('an equal λ is left out of names; as few settings as distinguish them are in', () => {
  assert.deepEqual(
    names({ sae: 'a', cfg: trained({ seed: 1, lr: 2e-3 }) }, { sae: 'b', cfg: trained({ seed: 2, lr: 1e-3 }) }),
    ['gated, seed 1', 'gated, seed 2'],
  );
  assert.deepEqual(names({ sae: 'a', cfg: trained({ batch: 512 }) }, { sae: 'b', cfg: trained({ batch: 1024 }) }), [
    'gated, batch 1,024',
    'gated, batch 512',
  ]);
  assert.deepEqual(names({ sae: 'a', cfg: trained({}) }, { sae: 'b', architecture: 'standard', cfg: trained({}) }), [
    'gated',
    'standard',
  ]);
  const other = (warmup: number) => ({ sae: `w${warmup}`, cfg: trained({ warmup }) });
  assert.deepEqual(names(other(5), other(50)), ['gated, warmup 5', 'gated, warmup 50']);
});

test('SAEs that no setting distinguishes have the end of their path, and the site if there are several', () => {
  assert.deepEqual(names({ sae: 'x/a' }, { sae: 'x/b' }), ['gated, a', 'gated, b']);
  const two = entries(
    { sae: 'a', cfg: trained({ l1: 1 }), hook: 'blocks.0.hook_mlp_out' },
    { sae: 'b', cfg: trained({ l1: 2 }), hook: 'blocks.1.hook_mlp_out' },
  );
  assert.deepEqual(
    two.map(({ name, label, fullName }) => [name, label, fullName]),
    [0, 1].map((i) => {
      const name = `gated, λ\u00a0${i + 1}`;
      return [name, name, `${name} at blocks.${i}.hook_mlp_out`];
    }),
  );
});

test('λ is read from our record and from that of SAELens; without it there is none', () => {
  assert.equal(recordedLambda(trained({ l1: 2.5 })), 2.5);
  assert.equal(recordedLambda({ l1_coefficient: 4 }), 4);
  assert.equal(recordedLambda({ training: { l1_coefficient: 4 }, metadata: { sae_pipe: { l1: 5 } } }), 5);
  assert.ok(Number.isNaN(recordedLambda({ l1: null })));
  assert.ok(Number.isNaN(recordedLambda({})));
  assert.ok(Number.isNaN(recordedLambda({ l1: 'many' })));
});
