import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import type { EvalRecord } from '../../src/eval/record.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused } from './refused.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const run = promisify(execFile);

/**
 * What is published, installed as a user of another project has it: no overrides of ours hold there, nor our .npmrc.
 * ONNX Runtime's own install script fetches CUDA libraries from outside the registry; `skip` turns that off
 * (docs/how-to/installing.md).
 */
test(
  'the packed tarball runs the demo in an empty folder, installed without scripts, and works with them',
  onDemand,
  async (t) => {
    const root = temporaryDirectory(t);
    const { stdout: packed } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', root]);
    const [tarball] = readdirSync(root);
    const { files } = [JSON.parse(packed)].flat()[0] as { files: { path: string }[] };
    assert.ok(
      !files.some(({ path }) => /^(test|src|bench|shared|\.ci)\//.test(path)),
      'sources and tests stay at home',
    );
    assert.ok(
      !files.some(({ path }) => /\.map$|^docs\/(api|results)\//.test(path)),
      'what only a clone needs does, too',
    );

    const home = join(root, 'project');
    mkdirSync(home);
    // `npm test` passes its settings on to what it runs.
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
    const { stdout: norms } = await run(process.execPath, [join('node_modules', 'sae-pipe', 'examples', 'hooks.mjs')], {
      cwd: home,
    });
    assert.match(norms, /^tiny-gemma: 4 layers of width 192$/m);
    // Harvest, training, evaluation and report in one process: two copies of one library would collide here.
    const { stdout } = await run(program, ['demo', '--quick', '--out', 'demo'], { cwd: home });
    checkDemo(join(home, 'demo'), stdout);
    rmSync(join(home, 'demo', 'acts'), { recursive: true });
    const again = await run(program, logged(['demo', '--out', 'demo']), { cwd: home }).catch((failure) => failure);
    refused(again, 'disk/out-exists', 'demo');
    assert.ok(!readdirSync(join(home, 'demo')).includes('acts'), 'nothing was harvested');

    const { stdout: scripts } = await npm('rebuild', '--foreground-scripts');
    assert.match(scripts, /onnxruntime-node.* postinstall/);
    assert.equal((await providers())[0]!.available, true);
  },
);

/** Every stage of the demo was run, with the results that it should have. */
function checkDemo(out: string, stdout: string): void {
  assert.match(stdout, /gated +gated +1536 /);
  assert.match(stdout, /standard +standard +2304 /);
  assert.match(stdout, /demo\/report\.html/);
  const records = JSON.parse(readFileSync(join(out, 'eval', 'eval.json'), 'utf8')) as EvalRecord[];
  for (const record of records) {
    assert.equal(record.tokens, 5000);
    assert.ok(record.loss_recovered > 0.8, `${record.architecture}: ${record.loss_recovered}`);
  }
  assert.match(readFileSync(join(out, 'report.html'), 'utf8'), /Gated and standard SAEs on tiny-gemma/);
  assert.match(stdout, /sae-pipe explore demo\/features --model/);
  const { tokens, saes } = JSON.parse(readFileSync(join(out, 'features', 'features.json'), 'utf8'));
  assert.deepEqual([tokens, saes.map(({ name }: { name: string }) => name)], [2000, ['gated', 'standard']]);
}
