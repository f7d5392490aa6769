import assert from 'node:assert/strict';
import { test } from 'node:test';
import { splitArguments, withPositional } from '../../src/cli/arguments.js';
import { flagsOf } from '../../src/config/flags.js';
import { STAGES, type StageName } from '../../src/config/stages.js';
import { refusesUsage } from '../config/refuses.js';

const split = (stage: StageName, ...args: string[]) => splitArguments(stage, flagsOf(STAGES[stage]), args);
const given = (stage: StageName, ...args: string[]) => withPositional(stage, split(stage, ...args));

test('flags in every form', () => {
  assert.deepEqual(given('harvest', '--tokens', '1M', '--seed=3', '--overwrite', '--no-resume', '--out', '-'), {
    ...{ tokens: '1M', seed: '3', overwrite: true, resume: false, out: '-' },
  });
  assert.deepEqual(given('harvest', '--hook', 'a', '--hook=b', '--overwrite', 'false', '--resume=true'), {
    ...{ hook: ['a', 'b'], overwrite: false, resume: true },
  });
  assert.deepEqual(given('train', '--lr', '-1', '--out=--odd=name'), { lr: '-1', out: '--odd=name' });
});

test('an argument may stand without its name, anywhere, and begin with a dash after --', () => {
  assert.deepEqual(given('report', '--out', 'o', 'e'), { out: 'o', evaluation: 'e' });
  assert.deepEqual(given('report', '--out', 'o', '--', '-e'), { out: 'o', evaluation: '-e' });
});

test('every unknown flag is named at once, with its own remedy', async () => {
  const saelens = ['--hook_name', 'blocks.0.hook_z', '--l1_coefficient', '-1', '--d_sae=64', '--normalise', '--out'];
  await refusesUsage(
    () => given('train', ...saelens, '--seed', '1', '--seed', '2'),
    '--hook_name, --l1_coefficient, --d_sae and --normalise are not known',
    '--l1_coefficient: Did you mean --l1?',
    '--d_sae: Did you mean --d-sae?',
    '--normalise: Did you mean --normalize?',
  );
});

test('what is doubtful is refused by name', async () => {
  for (const [stage, args, ...parts] of [
    ['train', ['--seed', '0', '--seed', '1'], '--seed was given more than once'],
    ['train', ['--overwrite', '--no-overwrite'], '--overwrite was given more than once'],
    ['train', ['--config', 'a', '--config', 'a'], '--config was given more than once'],
    ['report', ['e', '--evaluation', 'f'], '--evaluation was given more than once'],
    ['train', ['--out', '--overwrite'], '--out has no value'],
    ['train', ['--out'], '--out has no value'],
    ['train', ['--out='], '--out has no value'],
    ['train', ['--no-seed'], '--no-seed', 'takes a value'],
    ['train', ['--no-such'], '--no-such is not known'],
    ['train', ['--overwrite=maybe'], '--overwrite=maybe'],
    ['train', ['-seed', '1'], '-seed is not known', '--seed?'],
    ['train', ['--modle', 'x'], '--modle is not known', '--model?'],
    ['train', ['word'], 'takes no argument "word"'],
    ['report', ['a', 'b'], 'takes no argument "b"'],
  ] as const) {
    await refusesUsage(() => given(stage, ...args), ...parts);
  }
});
