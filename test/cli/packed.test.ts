import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { temporaryDirectory } from '../temporary.js';

const run = promisify(execFile);

/**
 * What is published, installed as a user of another project has it: no overrides of ours hold there, nor our .npmrc.
 * ONNX Runtime's own install script fetches CUDA libraries from outside the registry; `skip` is its word for not doing
 * so, and is said in docs/installing.md.
 */
test('the packed tarball works in an empty folder, installed without scripts and with them', async (t) => {
  const root = temporaryDirectory(t);
  const { stdout: packed } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', root]);
  const [tarball] = readdirSync(root);
  const { files } = [JSON.parse(packed)].flat()[0] as { files: { path: string }[] };
  assert.ok(!files.some(({ path }) => /^(test|src|bench|shared|\.ci)\//.test(path)), 'sources and tests stay at home');

  const home = join(root, 'project');
  mkdirSync(home);
  // `npm test` hands its own settings on to what it runs.
  const outside = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')));
  const environment = { ...outside, ONNXRUNTIME_NODE_INSTALL: 'skip' };
  const npm = (...args: string[]) => run('npm', args, { cwd: home, env: environment });
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund'];
  await npm('install', '--ignore-scripts', ...quiet, join(root, tarball!));
  const program = join(home, 'node_modules', '.bin', 'sae-pipe');
  const providers = async () => {
    const { stdout } = await run(program, ['doctor', '--json'], { cwd: home });
    return (JSON.parse(stdout) as { providers: { name: string; available: boolean }[] }).providers;
  };
  assert.equal((await providers())[0]!.available, true);
  // Harvest, training, evaluation and report in one process: two copies of one library would collide here.
  const { stdout } = await run(program, ['demo', '--quick', '--out', 'demo'], { cwd: home });
  assert.match(stdout, /demo\/report\.html/);

  const { stdout: scripts } = await npm('rebuild', '--foreground-scripts');
  assert.match(scripts, /onnxruntime-node.* postinstall/);
  assert.equal((await providers())[0]!.available, true);
});
