import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from '../temporary.js';
import { run, startIn } from './run-program.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const HOOK = 'blocks.2.hook_resid_post';
const root = temporaryDirectory();
const MODEL = ['--model', 'assets/tiny-gemma', '--hook', HOOK, '--context', '128', '--tokens', '20000', '--batch', '8'];

/** Has a command print its peak resident memory, bytes, when it ends. */
const PEAK = `--import=data:text/javascript,process.on('exit',()=>process._rawDebug('PEAK',process.resourceUsage().maxRSS*1024))`;
const measured = async (...args: string[]) => {
  const { code, stderr } = await startIn({ NODE_OPTIONS: PEAK }, ...args).outcome;
  assert.equal(code, 0, stderr);
  const peaks = [...stderr.matchAll(/^PEAK (\d+)$/gm)].map(([, bytes]) => Number(bytes));
  return { said: /at most (\S+ \S+) /.exec(stderr)![1]!, peak: Math.max(...peaks) };
};

const UNITS = ['B', 'KiB', 'MiB', 'GiB'];
const bytesOf = (said: string) => {
  const [number, unit] = said.split(' ');
  return Number(number) * 1024 ** UNITS.indexOf(unit!);
};

test(
  'doctor and the commands print one bound on memory, and a small run stays within a factor below it',
  onDemand,
  async () => {
    const doctor = await run('doctor', ...MODEL, '--d-sae', '1024', '--threads', '1');
    assert.equal(doctor.code, 0, doctor.stderr);
    const table = doctor.stdout.split('\n').flatMap((line) => /^ {2}memory +at most (\S+ \S+) /.exec(line)?.[1] ?? []);
    const corpus = ['--corpus', 'assets/corpus/validation.jsonl.gz'];
    const harvest = await measured('harvest', ...MODEL, ...corpus, '--out', join(root, 'acts'));
    const store = ['--activations', join(root, 'acts', HOOK)];
    const small = ['--d-sae', '1024', '--threads', '1', '--steps', '30', '--lr', '1e-3'];
    const train = await measured('train', ...store, ...small, '--out', join(root, 'sae'));
    assert.deepEqual(table, [harvest.said, train.said]);
    for (const { said, peak } of [harvest, train]) {
      const bound = bytesOf(said);
      assert.ok(peak < bound && bound < 4 * peak, `${said}, and ${peak / 2 ** 20} MiB were taken`);
    }
  },
);
