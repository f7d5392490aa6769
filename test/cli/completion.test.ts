import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { completionScript, offers, SHELLS } from '../../src/cli/completion.js';
import { flagsOf } from '../../src/config/flags.js';
import { STAGES, type StageName } from '../../src/config/stages.js';
import { trainable } from '../../src/sae/registry.js';
import { refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { run } from './run-program.js';

const root = temporaryDirectory();
mkdirSync(join(root, 'runs dir'));
writeFileSync(join(root, 'runs.yaml'), '');
for (const shell of SHELLS) writeFileSync(join(root, shell), completionScript([shell]));
const has = (shell: string) => spawnSync(shell, ['--version']).status === 0;

/** What bash offers for a line: words as readline splits them, = being one. */
function bash(line: string): string[] {
  const words = line.replaceAll('=', ' = ').split(' ');
  const script = `source ./bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sae_pipe; printf "%s\\n" "\${COMPREPLY[@]}"`;
  const { stdout, stderr, status } = spawnSync('bash', ['--norc', '-c', script, 'bash', ...words], {
    cwd: root,
    encoding: 'utf8',
  });
  // compopt works only in a completion, and its complaint is discarded.
  assert.deepEqual([status, stderr], [0, '']);
  return stdout.split('\n').filter((word) => word !== '');
}

test('bash: commands, flags, choices, lists of choices, and paths', () => {
  assert.deepEqual(bash('sae-pipe tr'), ['train']);
  assert.ok(bash('sae-pipe ').includes('harvest') && bash('sae-pipe ').includes('completion'));
  assert.deepEqual(bash('sae-pipe train --ov'), ['--overwrite']);
  assert.deepEqual(bash('sae-pipe train --arch '), trainable);
  assert.deepEqual(bash('sae-pipe train --arch=ga'), ['gated']);
  assert.deepEqual(bash('sae-pipe train --log-every 5 --log '), ['text', 'json']);
  assert.deepEqual(bash('sae-pipe train --ablate no-r-mag,un'), [
    'no-r-mag,untied-encoder',
    'no-r-mag,unfrozen-decoder',
  ]);
  assert.deepEqual(bash('sae-pipe train --activations runs').sort(), ['runs dir', 'runs.yaml']);
  assert.deepEqual(bash('sae-pipe train --out=runs').sort(), ['runs dir', 'runs.yaml']);
  assert.deepEqual(bash('sae-pipe report runs').sort(), ['runs dir', 'runs.yaml']);
  assert.deepEqual(bash('sae-pipe figure par'), ['pareto']);
  assert.deepEqual(bash('sae-pipe completion z'), ['zsh']);
  assert.deepEqual(bash('sae-pipe help tr'), ['train']);
  assert.deepEqual(bash('sae-pipe train --lr '), []);
  assert.deepEqual(bash('sae-pipe --config runs.yaml train --arch st'), ['standard']);
});

test('bash: a flag is offered as often as it may be given', () => {
  for (const stage of Object.keys(STAGES) as StageName[]) {
    const offered = bash(`sae-pipe ${stage} --`);
    for (const { name } of offers().find((command) => command.name === stage)!.flags) {
      assert.ok(offered.includes(`--${name}`), `${stage} --${name}`);
    }
  }
  assert.ok(!bash('sae-pipe train --seed 3 --').includes('--seed'));
  assert.ok(bash('sae-pipe eval --sae a --').includes('--sae'));
});

test('every flag, choice and path of every command is in the completion scripts', () => {
  for (const [stage, schema] of Object.entries(STAGES)) {
    const command = offers().find(({ name }) => name === stage)!;
    const told = [...command.flags, ...(command.argument ? [command.argument] : [])];
    for (const { name, choices, path, type } of flagsOf(schema)) {
      const offer = told.find((one) => one.name === name)!;
      assert.deepEqual(offer.choices, choices ?? [], name);
      assert.equal(offer.value, type === 'boolean' ? 'none' : choices ? 'choice' : path ? 'path' : 'any', name);
      // It stands in quotes of three shells.
      assert.doesNotMatch(offer.about, /['"`\\$[\]:\n]/, name);
    }
  }
});

test('zsh takes the script', { skip: !has('zsh') && 'zsh is not installed' }, () => {
  const script =
    'autoload -Uz compinit; compinit -u -d dump; source ./zsh; whence -w _sae_pipe; print $_comps[sae-pipe]';
  const { stdout, stderr } = spawnSync('zsh', ['-f', '-c', script], { cwd: root, encoding: 'utf8' });
  assert.deepEqual([stdout.trim(), stderr], ['_sae_pipe: function\n_sae_pipe', '']);
});

test("fish offers the script's completions", { skip: !has('fish') && 'fish is not installed' }, () => {
  const fish = (line: string) => {
    const { stdout, stderr } = spawnSync('fish', ['--no-config', '-c', `source ./fish; complete -C'${line}'`], {
      cwd: root,
      encoding: 'utf8',
    });
    assert.equal(stderr, '');
    return stdout.split('\n').flatMap((one) => one.split('\t')[0] || []);
  };
  assert.deepEqual(fish('sae-pipe trai'), ['train']);
  assert.deepEqual(fish('sae-pipe train --overw'), ['--overwrite']);
  // In its own order.
  assert.deepEqual(fish('sae-pipe train --arch ').sort(), [...trainable].sort());
  assert.deepEqual(fish('sae-pipe train --config runs.'), ['runs.yaml']);
  assert.deepEqual(fish('sae-pipe figure par'), ['pareto']);
});

test('completion prints a script and refuses other shells', async () => {
  const { code, stdout, stderr } = await run('completion', 'bash');
  assert.deepEqual([code, stderr, stdout], [0, '', completionScript(['bash'])]);
  assert.match((await run('completion', '--help')).stdout, /source <\(/);
  for (const args of [[], ['csh'], ['bash', 'zsh']])
    await refusesUsage(() => completionScript(args), 'cli/unknown-shell', 'bash');
  assert.equal((await run('completion')).code, 2);
});
