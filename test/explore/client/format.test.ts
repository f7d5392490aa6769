import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  activationText,
  cosineText,
  logPlace,
  roundText,
  shareText,
  signedText,
} from '../../../src/explore/client/format.js';
import { HEAT_LEVELS, heatLevel } from '../../../src/explore/client/heat.js';
import {
  foremostTokens,
  runningPieces,
  spokenToken,
  tokenPieces,
  writtenToken,
} from '../../../src/explore/client/token-text.js';

test('numbers keep their significant digits, and no more', () => {
  const shares = [0, 1, 0.5, 0.0955, 0.00424, 0.00012, 1.5e-6, 2e-9].map(shareText);
  assert.deepEqual(shares, ['0%', '100%', '50.0%', '9.6%', '0.42%', '0.012%', '0.00015%', '2e−7%']);
  const activations = [0, 123456.7, 99.96, 12.345, 9.996, 1.005, 0.0123, 0.00001, null, Number.NaN].map(activationText);
  assert.deepEqual(activations, ['0', '123,457', '100', '12.3', '10.0', '1.00', '0.012', '1.0e−5', '–', '–']);
  assert.deepEqual(
    [cosineText(-0.5), cosineText(null), signedText(1.234), signedText(-0.1)],
    ['−0.50', '–', '+1.23', '−0.10'],
  );
});

test('round values have no zeros behind them', () => {
  assert.deepEqual([20, 0.0625, 1024, 2 ** -8, 1e-9].map(roundText), ['20', '0.0625', '1024', '0.003906', '1e−9']);
});

test('places on a logarithmic scale stay on it', () => {
  assert.deepEqual(
    [1e-6, 1e-3, 1, 5, 1e-9, 0].map((value) => logPlace(value, 1e-6, 1)),
    [0, 0.5, 1, 1, 0, 0],
  );
});

test('only 0 has no colour, and the maximum has the last', () => {
  assert.deepEqual(
    [0, -1, Number.NaN, 1e-9, 5, 9, 20].map((value) => heatLevel(value, 9)),
    [0, 0, 0, 1, 5, HEAT_LEVELS, HEAT_LEVELS],
  );
  assert.equal(heatLevel(1, 0), 0);
});

test('white space of a token is visible, and its text stays as it is', () => {
  assert.deepEqual(tokenPieces('▁the<b>'), [
    { text: '·', mark: true },
    { text: 'the<b>', mark: false },
  ]);
  assert.deepEqual(tokenPieces('\n\n'), [{ text: '↵↵', mark: true }]);
  assert.deepEqual(tokenPieces(''), [{ text: '∅', mark: true }]);
  assert.deepEqual(runningPieces('▁ a\n'), [
    { text: '  ', mark: false },
    { text: 'a', mark: false },
    { text: '↵', mark: true },
  ]);
  assert.deepEqual(['▁the', '\n', ''].map(spokenToken), ['the', 'white space', 'empty']);
});

test('a token of one byte is shown as its sign, if it has one', () => {
  const shown = ['<0x3D>', '<0x0A>', '<0x20>', '<0xE2>', '<0x07>', 'a<0x3D>'].map(tokenPieces);
  assert.deepEqual(shown.flat(), [
    ...['=', '↵', '·'].map((text) => ({ text, mark: true })),
    ...['<0xE2>', '<0x07>', 'a<0x3D>'].map((text) => ({ text, mark: false })),
  ]);
  assert.deepEqual(runningPieces('<0x23>'), [{ text: '#', mark: true }]);
  assert.deepEqual(['<0x3D>', '<0xE2>', '='].map(writtenToken), ['<0x3D>', undefined, undefined]);
  assert.equal(spokenToken('<0x3D>'), '=');
});

test('tokens that were searched for come first, however weak', () => {
  const tokens = ['▁a', '▁b', '▁c', '▁revenues'];
  assert.deepEqual(foremostTokens(tokens, 'Revenue', 2), ['▁revenues', '▁a']);
  assert.deepEqual(foremostTokens(tokens, '', 2), ['▁a', '▁b']);
});
