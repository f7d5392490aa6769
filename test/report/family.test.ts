import assert from 'node:assert/strict';
import { test } from 'node:test';
import { familyOf } from '../../src/report/family-styles.js';
import { evalRecord } from './sample.js';

const made = (architecture: string, sae_pipe: unknown) =>
  familyOf(evalRecord({ architecture, cfg: { metadata: { sae_pipe } } }));

test('a family is the architecture, and what is unusual in how the SAE was made', () => {
  assert.equal(made('gated', {}), 'gated');
  assert.equal(made('gated', { ablate: [], train: null }), 'gated');
  assert.equal(made('gated', { ablate: ['no-r-mag'] }), 'gated, no r_mag');
  assert.equal(made('gated_untied', { ablate: ['untied-encoder'] }), 'gated, untied encoder');
  assert.equal(made('gated_untied', {}), 'gated_untied');
  assert.equal(made('gated', { ablate: ['unfrozen-decoder', 'l1-on-f'] }), 'gated, unfrozen decoder, L1 on f');
  assert.equal(made('gated', { ablate: ['another'] }), 'gated, another');
  assert.equal(made('gated', { train: ['r_mag', 'b_mag'] }), 'standard, rescaled & shifted');
  assert.equal(made('gated', { train: ['b_mag', 'r_mag'] }), 'standard, rescaled & shifted');
  assert.equal(made('jumprelu', { train: ['r_mag', 'b_mag'] }), 'jumprelu, only r_mag and b_mag trained');
  assert.equal(made('gated', { train: ['r_mag'] }), 'gated, only r_mag trained');
  assert.equal(made('standard', { train: ['W_dec', 'b_dec'] }), 'standard, only W_dec and b_dec trained');
});

test('a cfg.json without settings, or with nonsense, has the family of its architecture', () => {
  assert.equal(familyOf(evalRecord({ architecture: 'topk', cfg: {} })), 'topk');
  assert.equal(made('gated', 'x'), 'gated');
  assert.equal(made('gated', { ablate: 'no-r-mag', train: 3 }), 'gated');
  assert.equal(familyOf(evalRecord({ cfg: { metadata: null } })), 'gated');
});
