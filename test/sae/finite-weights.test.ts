import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { initialise, PARAMETERS } from '../../src/sae/registry.js';
import { square } from '../../src/sae/sae.js';
import { checkFiniteWeights, openSae, readSae, saveSae } from '../../src/sae/saelens.js';
import { temporaryDirectory } from '../temporary.js';

test('a weight that is NaN or infinite is named, wherever it stands, and finite ones pass', async () => {
  const root = temporaryDirectory();
  const saved = async (name: string, change: (sae: ReturnType<typeof initialise>) => void) => {
    const sae = initialise('gated', square(6, 11), 1);
    change(sae);
    mkdirSync(join(root, name));
    await saveSae(join(root, name), sae, {});
    return openSae(join(root, name));
  };
  const good = await saved('good', () => {});
  await checkFiniteWeights(good);
  await readSae(good);
  for (const name of PARAMETERS.gated) {
    const files = await saved(name, ({ parameters }) => {
      parameters[name]![parameters[name]!.length - 1] = Number.NEGATIVE_INFINITY;
    });
    const refused = new RegExp(`sae_weights\\.safetensors contains -Infinity in ${name}\\.`);
    await assert.rejects(checkFiniteWeights(files), refused);
    await assert.rejects(readSae(files), refused);
  }
});
