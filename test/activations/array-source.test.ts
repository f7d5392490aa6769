import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { arraySource } from '../../src/activations/array-source.js';

const origin = {
  ...{ place: 'the array', model: { name: 'm', fingerprint: '' }, hook: 'blocks.0.hook_resid_post' },
  ...{ context: 128, prependBos: true, corpus: 'an array' },
};

test('the identity of an array is the SHA-256 of its values', () => {
  const x = Float32Array.of(1, 2, 3, 4);
  const wanted = createHash('sha256').update(x).digest('hex');
  assert.equal(arraySource(x, 2, origin).about.identity, wanted);
});

test('an array may have 2 GiB and more, which Node does not hash at once', {
  skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1',
}, () => {
  const x = new Float32Array(2 ** 29);
  const other = x.slice();
  other[x.length - 1] = 1;
  const identityOf = (values: Float32Array) => arraySource(values, 2 ** 20, origin).about.identity;
  assert.notEqual(identityOf(x), identityOf(other));
});
