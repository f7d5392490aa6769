import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSae, saveSae } from '../../src/sae/saelens.js';
import { randomSae } from '../sae/random-sae.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refusedUsage } from './refused.js';
import { run } from './run-program.js';

test('export writes a JumpReLU SAE and prints its directory; without --as it says what is missing', async () => {
  const root = temporaryDirectory();
  const [sae, out] = [join(root, 'gated'), join(root, 'jumprelu')];
  mkdirSync(sae);
  await saveSae(sae, randomSae('gated', 5, 9, 1), {});
  refusedUsage(await run(...logged(['export', '--sae', sae, '--out', out])), 'config/missing-flag', '--as');
  assert.ok(!existsSync(out));
  const { code, stdout, stderr } = await run('export', '--sae', sae, '--as', 'jumprelu', '--out', out);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `${out}\n`);
  assert.equal((await openSae(out)).architecture, 'jumprelu');
});

test('convert takes the SAE as a positional argument and writes the requested layout', async () => {
  const root = temporaryDirectory();
  const [sae, out] = [join(root, 'gated'), join(root, 'converted')];
  mkdirSync(sae);
  await saveSae(sae, randomSae('gated', 5, 9, 1), {});
  refusedUsage(await run(...logged(['convert', sae, '--as', 'elsewhere', '--out', out])), 'config/wrong-value', '--as');
  const { code, stdout, stderr } = await run('convert', sae, '--as', 'dictionary-learning', '--out', out);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `${out}\n`);
  assert.ok(existsSync(join(out, 'ae.pt')) && existsSync(join(out, 'config.json')));
});
