import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contextsInMemory, evaluationContexts } from '../../src/eval/splice-pass.js';
import { contextsAtOnce } from '../../src/lm/pass.js';
import { gemmaOfSizes } from '../lm/gemma-config.js';

/** 40 blocks of 28,608 parameters and a head of 64,000. */
const config = gemmaOfSizes({ layers: 40, hidden: 64, heads: 2, kvHeads: 1, headDim: 16, mlp: 117, vocabulary: 1000 });
const BLOCK = 64 * (2 * 3 * 16 + 3 * 117);
const HEAD = 64 * 1000;
const saes = [
  { dIn: 64, dSae: 256 },
  { dIn: 64, dSae: 512 },
];

test('on a CPU a pass counts blocks above the hook, and the head, once for each variant', () => {
  for (const layer of [0, 20, 39]) {
    const pass = { layer, variants: 4, saes, context: 100, device: 'cpu' };
    const parameters = (layer + 1 + 4 * (39 - layer)) * BLOCK + 4 * HEAD + 2 * 64 * (256 + 512);
    assert.equal(evaluationContexts(config, pass), contextsAtOnce(parameters, 100));
    assert.equal(evaluationContexts(config, { ...pass, device: undefined }), contextsAtOnce(parameters, 100));
  }
});

test('elsewhere, and where that is less, memory decides', () => {
  const pass = { layer: 1, variants: 4, saes, context: 100, device: 'cuda' };
  assert.equal(evaluationContexts(config, pass), contextsInMemory(117, 100, 4, 512));
  const wide = [{ dIn: 64, dSae: 2 ** 20 }];
  assert.equal(
    evaluationContexts(config, { ...pass, saes: wide, device: 'cpu' }),
    contextsInMemory(117, 100, 4, 2 ** 20),
  );
});

test('Gemma 2B goes through an evaluation one context of 1024 at a time on a CPU, four on a GPU', () => {
  const gemma = gemmaOfSizes({ layers: 18, hidden: 2048, heads: 8, kvHeads: 1, headDim: 256, mlp: 16_384 });
  const pass = { layer: 5, variants: 3, saes: [{ dIn: 2048, dSae: 16_384 }], context: 1024 };
  const contexts = (device: string) => evaluationContexts(gemma, { ...pass, device });
  assert.deepEqual([contexts('cpu'), contexts('cuda')], [1, 4]);
});
