import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Interrupted } from '../../src/errors/refusal.js';
import { harvestTokens } from '../harvest/token-harvest.js';
import { ROWS } from '../harvest/token-pass.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';

const root = temporaryDirectory();
/** The last context of the last window is not full. */
const TOKENS = 27 * ROWS - 1;
let counter = 0;

function newDirectory(): string {
  const out = join(root, String(counter++));
  mkdirSync(out);
  return out;
}

/** Harvests until the stop that comes at `stopAt` rows; returns the contexts of each pass. */
async function stopped(out: string, atOnce: number, stopAt: number): Promise<void> {
  await assert.rejects(harvestTokens({ tokens: TOKENS, out, atOnce, stopAt }), Interrupted);
}

for (const atOnce of [1, 2, 5]) {
  test(`stopped after any pass of ${atOnce} contexts, a harvest resumes there and ends in the same bytes`, async () => {
    const whole = newDirectory();
    const passes = await harvestTokens({ tokens: TOKENS, out: whole, atOnce });
    const expected = filesBelow(whole);
    for (let done = 1; done < passes.length; done++) {
      const out = newDirectory();
      await stopped(out, atOnce, passes.slice(0, done).flat().length * ROWS);
      const rest = await harvestTokens({ tokens: TOKENS, out, atOnce, resume: true });
      assert.deepEqual(rest, passes.slice(done), 'no context is computed twice, and passes are the same');
      assert.deepEqual(filesBelow(out), expected, `stopped after ${done} passes`);
    }
  });
}
