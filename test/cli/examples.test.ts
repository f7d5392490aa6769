import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { temporaryDirectory } from '../temporary.js';

const root = temporaryDirectory();
/** An example as a user starts it; within this package, its own name means what was built. */
const example = async (name: string, ...args: string[]) =>
  (await promisify(execFile)(process.execPath, [`examples/${name}.mjs`, ...args])).stdout;

test('examples: hooks of a text, an SAE trained on them, its features, a steered text, a plot', async () => {
  const norms = (await example('hooks')).trim().split('\n').slice(1);
  assert.ok(norms.length > 10);
  for (const line of norms) assert.match(line, /^".*" +(\d+\.\d *){4}$/);

  const sae = join(root, 'sae');
  const trained = await example('train', sae, '40');
  const [, recovered] = /loss recovered: ([\d.]+) %/.exec(trained) ?? [];
  assert.ok(Number(recovered) > 50, trained);
  const { hook_name, model_name } = JSON.parse(readFileSync(join(sae, 'cfg.json'), 'utf8')).metadata;
  assert.deepEqual([hook_name, model_name], ['blocks.2.hook_resid_post', 'tiny-gemma']);

  const steered = await example('steer', sae);
  assert.match(steered, /" Treasury" +\d+ \(/);
  const [, asItIs, changed] = /as it is: +(".*")\nfeature \d+: (".*")/.exec(steered) ?? assert.fail(steered);
  assert.notEqual(asItIs, changed);

  const svg = join(root, 'features.svg');
  await example('plot', sae, svg);
  const cells = readFileSync(svg, 'utf8').match(/<rect /g) ?? [];
  assert.ok(cells.length >= 12 * 10, String(cells.length));
});
