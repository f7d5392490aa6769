import assert from 'node:assert/strict';
import { test } from 'node:test';
import { temporaryDirectory } from '../temporary.js';
import { plantCanary } from './fuzz/canary.js';
import { runCases } from './fuzz/runner.js';
import { BROKEN_READERS } from './fuzz/targets/broken-readers.js';

const root = temporaryDirectory();
const canary = plantCanary(root);

for (const reader of BROKEN_READERS) {
  test(`a ${reader.name} ends in ${reader.ending}, and the case after it is run`, async () => {
    const outcomes = await runCases(reader, { root, seed: 1, from: 5, to: 7, canary });
    assert.deepEqual(
      outcomes.map(({ index, ending }) => [index, ending]),
      [
        [5, reader.ending],
        [6, reader.ending],
      ],
    );
  });
}
