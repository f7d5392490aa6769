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

test('a positional argument may stand anywhere, and begin with a dash after --', () => {
  assert.deepEqual(given('report', '--out', 'o', 'e'), { out: 'o', evaluation: 'e' });
  assert.deepEqual(given('report', '--out', 'o', '--', '-e'), { out: 'o', evaluation: '-e' });
});

test('every unknown flag is named at once, with its own remedy', async () => {
  const saelens = ['--hook_name', 'blocks.0.hook_z', '--l1_coefficient', '-1', '--d_sae=64', '--normalise', '--out'];
  await refusesUsage(
    () => given('train', ...saelens, '--seed', '1', '--seed', '2'),
    'config/unknown-flag',
    '--hook_name, --l1_coefficient, --d_sae and --normalise are not known',
    '--l1_coefficient: Did you mean --l1?',
    '--d_sae: Did you mean --d-sae?',
    '--normalise: Did you mean --normalize?',
  );
});

test('ambiguous arguments are refused by name', async () => {
  for (const [stage, args, code, ...named] of [
    ['train', ['--seed', '0', '--seed', '1'], 'config/flag-twice', '--seed'],
    ['train', ['--overwrite', '--no-overwrite'], 'config/flag-twice', '--overwrite'],
    ['train', ['--config', 'a', '--config', 'a'], 'config/flag-twice', '--config'],
    ['report', ['e', '--evaluation', 'f'], 'config/flag-twice', '--evaluation'],
    ['train', ['--out', '--overwrite'], 'config/no-value', '--out'],
    ['train', ['--out'], 'config/no-value', '--out'],
    ['train', ['--out='], 'config/no-value', '--out'],
    ['train', ['--no-seed'], 'config/unknown-flag', '--no-seed', 'takes a value'],
    ['train', ['--no-such'], 'config/unknown-flag', '--no-such'],
    ['train', ['--overwrite=maybe'], 'config/switch-with-value', '--overwrite=maybe'],
    ['train', ['-seed', '1'], 'config/unknown-flag', '-seed', '--seed?'],
    ['train', ['--modle', 'x'], 'config/unknown-flag', '--modle', '--model?'],
    ['train', ['word'], 'cli/surplus-argument', '"word"'],
    ['report', ['a', 'b'], 'cli/surplus-argument', '"b"'],
  ] as const) {
    await refusesUsage(() => given(stage, ...args), code, ...named);
  }
});
