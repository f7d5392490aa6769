import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { HOOK, harvestWords, trainWords } from '../faults/commands.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused, refusedUsage } from './refused.js';
import { startIn } from './run-program.js';

const root = temporaryDirectory();
const bin = join(root, 'bin');
const calls = join(root, 'calls');
mkdirSync(bin);
for (const name of ['sbatch', 'scancel']) {
  // The third job is refused.
  const answer = `n=$(grep -c ^sbatch ${calls}); if [ $n = 3 ]; then echo 'sbatch: error: Too many jobs' >&2; exit 1; fi; echo "$((100 + n));c"`;
  writeFileSync(join(bin, name), `#!/bin/sh\necho ${name} "$@" >> ${calls}\n${name === 'sbatch' ? answer : ''}\n`);
  chmodSync(join(bin, name), 0o755);
}
const submit = (...words: string[]) =>
  startIn({ PATH: [bin, process.env.PATH].join(delimiter) }, ...logged(['submit', 'slurm']), ...words).outcome;

test('submit writes the script next to --out, submits it and says how to watch, cancel and resume', async () => {
  writeFileSync(calls, '');
  const out = join(root, 'acts');
  const { code, stdout, stderr } = await submit('--time', '60', '--', ...harvestWords(out));
  assert.equal(code, 0, stderr);
  assert.equal(readFileSync(calls, 'utf8'), `sbatch --parsable ${out}.slurm.sh\n`);
  assert.match(readFileSync(`${out}.slurm.sh`, 'utf8'), /#SBATCH --time=60\n[\s\S]* harvest --model/);
  for (const word of ['Job 101', 'squeue -j 101', 'scancel 101', 'sbatch ']) assert.ok(stdout.includes(word), stdout);
  assert.ok(!existsSync(out));
  refused(await submit('--time', '90', '--', ...harvestWords(out)), 'submit/script-exists', `${out}.slurm.sh`);
});

test('a chain depends from job to job; where one is refused, those before it are cancelled', async () => {
  writeFileSync(calls, '');
  const out = join(root, 'sweep');
  const file = join(root, 'sweep.yaml');
  const text = { model: 'assets/tiny-gemma', corpus: 'assets/corpus/validation.jsonl.gz', tokens: 300 };
  const sweep = { out, arch: ['gated'], 'd-sae': [200], l1: [2], seed: [0] };
  writeFileSync(file, JSON.stringify({ harvest: { ...text, hook: HOOK }, train: { steps: 5 }, sweep, eval: text }));
  const wrong = join(root, 'wrong.yaml');
  writeFileSync(wrong, JSON.stringify({ harvest: { ...text, hook: HOOK }, sweep, eval: { ...text, tokenz: 3 } }));
  refusedUsage(await submit('--chain', wrong), 'config/unknown-flag', 'tokenz');
  refused(await submit('--chain', file), 'submit/refused', 'Too many jobs');
  const scripts = ['harvest', 'train', 'eval', 'report'].map((name) => `${out}.${name}.slurm.sh`);
  const after = (job: number) => `--dependency=afterok:${job} --kill-on-invalid-dep=yes`;
  assert.deepEqual(readFileSync(calls, 'utf8').trim().split('\n'), [
    `sbatch --parsable ${scripts[0]}`,
    `sbatch --parsable ${after(101)} ${scripts[1]}`,
    `sbatch --parsable ${after(102)} ${scripts[2]}`,
    'scancel 101 102',
  ]);
  const stages = scripts.map((script) => /--until (\w+)\)/.exec(readFileSync(script, 'utf8'))?.[1]);
  assert.deepEqual(stages, ['harvest', 'train', 'eval', undefined]);
});

test('mistakes in the command are refused at submission, not on a node; --dry-run and refusals write nothing', async () => {
  const out = join(root, 'never', 'acts');
  const words = harvestWords(out);
  const usage = [
    [['--', ...words, '--hok', HOOK], 'config/unknown-flag'],
    [['--', 'watch', 'runs'], 'submit/not-submitted'],
    [['--', ...harvestWords('-')], 'submit/not-submitted'],
    [['--', 'report', 'runs/eval', '--out=-'], 'submit/not-submitted'],
    [['--', ...words, '--log', 'xml'], 'config/wrong-value'],
    [[], 'submit/chain-and-command'],
    [['--chain', 'configs/sweep-tiny.yaml', '--', ...words], 'submit/chain-and-command'],
    [['--array', '2', '--', ...trainWords(root, out)], 'submit/array-without-task'],
    [['--array', '2', '--', ...words, '--shard', '0/2'], 'submit/array-without-task'],
  ] as const;
  for (const [given, code] of usage) refusedUsage(await submit(...given), code);
  const shown = await submit('--dry-run', '--array', '2', '--', ...harvestWords(join(root, 'never', '{i}')));
  assert.match(shown.stdout, /#SBATCH --array=0-1\n/);
  assert.doesNotMatch(shown.stdout, /--shard/);
  const parts = await submit('--dry-run', '--array', '2', '--', ...words);
  assert.match(parts.stdout, / --shard "\$SLURM_ARRAY_TASK_ID"\/2\)/);
  assert.ok(!readdirSync(root).includes('never'));
  const nowhere = { PATH: join(root, 'nowhere') };
  const without = startIn(nowhere, ...logged(['submit', 'slurm']), '--', ...harvestWords(join(root, 'a')));
  refused(await without.outcome, 'submit/no-slurm');
});
