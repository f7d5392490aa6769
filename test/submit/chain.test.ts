import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { stageConfig } from '../../src/cli/stage-config.js';
import { submittedWork } from '../../src/cli/submitted.js';
import { scriptOf } from '../../src/submit/script.js';
import { checkStages, forStage } from '../../src/submit/stage-resources.js';
import { refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const EVALUATED = 'eval: {model: m, corpus: c, tokens: 300}\n';
const sweepFile = (t: TestContext, more = EVALUATED, sweep = 'activations: acts, hook: h, ') => {
  const file = join(temporaryDirectory(t), 'sweep.yaml');
  const train = 'train: {steps: 5, d-sae: 200}\n';
  const harvest = sweep === '' ? 'harvest: {model: m, corpus: c, tokens: 300, hook: h}\n' : '';
  writeFileSync(file, `${harvest}${train}sweep: {out: /runs/s, ${sweep}arch: [gated], seed: [0, 1]}\n${more}`);
  return file;
};

/** The jobs of a command line of submit, as [stage, tasks, words behind the file]. */
async function jobsOf(file: string, ...words: readonly string[]) {
  const { config } = await stageConfig('submit', ['slurm', ...words]);
  const works = await submittedWork(config, (stage, rest) => stageConfig(stage, rest));
  return works.map(({ name, tasks, words: own }) => [name, tasks, own.filter((word) => word !== file).join(' ')]);
}

test('a sweep as an array: its training is shared by tasks, between harvest and evaluation', async (t) => {
  const file = sweepFile(t, EVALUATED, '');
  const expected = [
    ['harvest', undefined, '--config --until harvest'],
    ['train', 4, '--config --shard {i}/{n} --until train'],
    ['eval', undefined, '--config --until eval'],
    ['report', undefined, '--config'],
  ];
  assert.deepEqual(await jobsOf(file, '--array', '4', '--', 'sweep', '--config', file), expected);
  assert.deepEqual(await jobsOf(file, '--array', '4', '--chain', file), expected);
  const alone = sweepFile(t, '');
  assert.deepEqual(await jobsOf(alone, '--array', '4', '--', 'sweep', '--config', alone), [
    ['train', 4, '--config --shard {i}/{n}'],
  ]);
});

test('stages.harvest.array divides the harvest of a chain, and the jobs behind it wait for all parts', async (t) => {
  const file = sweepFile(t, `${EVALUATED}submit: {stages: {harvest: {array: 3}, train: {array: 2}}}\n`, '');
  const expected = (train: number | undefined) => [
    ['harvest', 3, '--config --shard {i}/{n} --until harvest'],
    ['train', train, '--config --shard {i}/{n} --until train'],
    ['eval', undefined, '--config --until eval'],
    ['report', undefined, '--config'],
  ];
  assert.deepEqual(await jobsOf(file, '--chain', file), expected(2));
  // What is said of a stage counts before what is said of all.
  assert.deepEqual(await jobsOf(file, '--chain', file, '--array', '9'), expected(2));
  const harvestOnly = sweepFile(t, `${EVALUATED}submit: {stages: {harvest: {array: 3}}}\n`, '');
  assert.deepEqual(await jobsOf(harvestOnly, '--array', '4', '--chain', harvestOnly), expected(4));
  const { config } = await stageConfig('submit', ['slurm', '--chain', harvestOnly]);
  const [harvest, train] = await submittedWork(config, (stage, rest) => stageConfig(stage, rest));
  assert.match(scriptOf(harvest!, forStage(config, 'harvest'), '/w').text, /#SBATCH --array=0-2\n/);
  assert.doesNotMatch(scriptOf(train!, forStage(config, 'train'), '/w').text, /--array|--shard/);
});

test('--array is refused where none of the jobs is the training', async (t) => {
  const file = sweepFile(t, EVALUATED, 'until: harvest, hook: h, ');
  writeFileSync(file, `harvest: {model: m, corpus: c, tokens: 300, hook: h}\n${readFileSync(file, 'utf8')}`);
  await refusesUsage(() => jobsOf(file, '--array', '4', '--chain', file), 'submit/array-without-task', 'harvest');
  assert.equal((await jobsOf(file, '--chain', file)).length, 1);
});

test('a sweep with --until is submitted up to there; with {i} in its words each task is a sweep', async (t) => {
  const file = sweepFile(t);
  const words = ['--array', '2', '--', 'sweep', '--config', file];
  assert.deepEqual(await jobsOf(file, ...words, '--until=eval'), [
    ['train', 2, '--config --shard {i}/{n} --until train'],
    ['eval', undefined, '--config --until eval'],
  ]);
  await refusesUsage(() => jobsOf(file, ...words, '--until', 'harvest'), 'submit/no-stage');
  assert.deepEqual(await jobsOf(file, ...words, '--shard=auto', '--until', 'train'), [
    ['train', 2, '--config --shard {i}/{n} --until train'],
  ]);
  assert.deepEqual(await jobsOf(file, ...words, '--shard', '{i}/{n}'), [[undefined, 2, '--config --shard {i}/{n}']]);
  assert.deepEqual(await jobsOf(file, ...words, '--seed', '{i}', '--out', 'runs/s{i}'), [
    [undefined, 2, '--config --seed {i} --out runs/s{i}'],
  ]);
});

test('the number of a task reaches --shard in the script', (t) => {
  const work = { stage: 'sweep', words: ['--shard', '{i}/{n}'], out: 'o', name: 'train', tasks: 3 } as const;
  const { text } = scriptOf(work, { notice: 120, requeue: true, maxRequeues: 1 } as never, temporaryDirectory(t));
  assert.match(text, /#SBATCH --array=0-2\n/);
  assert.ok(text.includes('--shard "$SLURM_ARRAY_TASK_ID"/3'), text);
});

test('resources of one stage count before those of all, and reach its script alone', async (t) => {
  const stages =
    'submit: {time: 60, gres: "gpu:1", stages: {train: {time: 8:00:00, cpus: 16}, report: {gres: none}}}\n';
  const file = sweepFile(t, EVALUATED + stages);
  const { config } = await stageConfig('submit', ['slurm', '--chain', file, '--mem', '8G']);
  const works = await submittedWork(config, (stage, words) => stageConfig(stage, words));
  const options = works.map((work) => {
    const { text } = scriptOf(work, forStage(config, work.name), '/w');
    return [...text.matchAll(/#SBATCH --(time|gres|cpus-per-task|mem)=(\S+)/g)].map((match) =>
      match.slice(1).join(' '),
    );
  });
  assert.deepEqual(options, [
    ['gres gpu:1', 'time 8:00:00', 'cpus-per-task 16', 'mem 8G'],
    ['gres gpu:1', 'time 60', 'mem 8G'],
    ['gres none', 'time 60', 'mem 8G'],
  ]);
});

test('wrong resources of a stage are named', async (t) => {
  const submit = async (stages: string) =>
    (await stageConfig('submit', ['slurm', '--chain', sweepFile(t, `submit: {stages: ${stages}}\n`)])).config;
  for (const [stages, code] of [
    ['{training: {cpus: 2}}', 'config/unknown-flag'],
    ['{train: {out: x}}', 'config/unknown-flag'],
    ['{eval: {array: 2}}', 'config/unknown-flag'],
    ['{harvest: {array: 0}}', 'config/wrong-value'],
    ['{train: {cpus: many}}', 'config/wrong-value'],
    ['{train: 3}', 'config/wrong-runs'],
    ['3', 'config/wrong-runs'],
  ] as const) {
    await refusesUsage(async () => checkStages(await submit(stages), ['train']), code);
  }
  const config = await submit('{train: {cpus: 2}}');
  await refusesUsage(() => checkStages(config, [undefined]), 'submit/chain-and-command');
  // What does not last is refused for the stage that has it.
  const short = forStage(await submit('{train: {time: 2}}'), 'train');
  await refusesUsage(
    () => scriptOf({ stage: 'sweep', words: [], out: 'o', name: 'train' }, short, '/w'),
    'submit/time-too-short',
  );
});
