import assert from 'node:assert/strict';
import { cpSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { openSae } from '../../../src/sae/saelens.js';
import { relativeDifference } from '../../golden.js';
import { temporaryDirectory } from '../../temporary.js';
import { randomInputs } from '../random-sae.js';
import { opened, useCache } from './opened.js';
import { runFiles } from './run-files.js';

const PLACE = 'google/gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_4';
const D_IN = 6;

useCache();

test('an SAE of embeddings does to √d x what its file does to x', async () => {
  const golden = join('test/golden/published', PLACE);
  const folder = join(temporaryDirectory(), 'gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6');
  mkdirSync(dirname(folder), { recursive: true });
  cpSync(golden, folder, { recursive: true });
  const x = randomInputs(5 * D_IN, 3);
  const plain = await runFiles(await openSae(await opened(golden)), x);
  const files = await openSae(await opened(folder));
  assert.equal(files.metadata.hook_name, 'hook_embed');
  const scale = Math.sqrt(D_IN);
  const embedded = await runFiles(
    files,
    x.map((value) => value * scale),
  );
  assert.ok(relativeDifference(embedded.f, plain.f) < 1e-5);
  assert.ok(
    relativeDifference(
      embedded.xHat,
      plain.xHat.map((value) => value * scale),
    ) < 1e-5,
  );
});
