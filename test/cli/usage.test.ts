import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { positionalsOf } from '../../src/cli/arguments.js';
import { flagsOf } from '../../src/config/flags.js';
import { loadConfig } from '../../src/config/load.js';
import { STAGES, type StageName } from '../../src/config/stages.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refusedUsage } from './refused.js';
import { run } from './run-program.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const root = temporaryDirectory();

test('--help of every command names every flag with its help and default, and exits 0', onDemand, async () => {
  for (const stage of Object.keys(STAGES) as StageName[]) {
    const { code, stdout, stderr } = await run(stage, '--help');
    assert.equal(code, 0, stderr);
    const text = stdout.replace(/\s+/g, ' ');
    for (const flag of flagsOf(STAGES[stage])) {
      const shown = positionalsOf(stage).includes(flag.name) ? `<${flag.name}>` : `--${flag.name} `;
      assert.ok(text.includes(shown), `${stage}: ${shown}`);
      assert.ok(flag.description.length > 10, `${stage} --${flag.name} explains nothing`);
      // Help is wrapped around the type column, so words are compared in order, not the line.
      const words = flag.description.split(' ').slice(0, 3).join(' ');
      assert.ok(text.includes(words), `${stage} --${flag.name}: ${words}`);
      if (flag.default !== undefined && flag.type !== 'boolean') {
        assert.ok(text.includes(`[default: ${String(flag.default) || 'none'}]`), `default of ${stage} --${flag.name}`);
      }
    }
    assert.match(stdout, /Example\s+sae-pipe/);
  }
});

test('--help of the program names every command; --version is that of package.json', async () => {
  const { code, stdout } = await run('--help');
  assert.equal(code, 0);
  for (const stage of Object.keys(STAGES)) assert.match(stdout, new RegExp(`^  ${stage} `, 'm'));
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  for (const flag of ['--version', '-V', '-v']) assert.equal((await run(flag)).stdout, `${version}\n`);
  assert.equal((await run('-h')).stdout, stdout);
});

test('mistakes in the command exit 2 with one line that names what is meant', async () => {
  const yaml = join(root, 'wrong.yaml');
  writeFileSync(yaml, 'train:\n  d-sea: 12\n');
  const train = (more: readonly string[]) => ['train', '--activations', 'x', ...more];
  for (const [args, code, ...named] of [
    [['trian'], 'cli/unknown-command', '"trian"', 'train?'],
    [['harvest', '--modle', 'x'], 'config/unknown-flag', '--modle', '--model?'],
    [['harvest'], 'config/missing-flag', '--model, --corpus, --hook, --tokens and --out'],
    [['frobnicate'], 'cli/unknown-command', '"frobnicate"', 'sae-pipe --help'],
    [['figure', 'paretto', '--out', 'x.svg'], 'config/wrong-value', '"paretto"', 'pareto?'],
    [['figure', '--out', 'x.svg'], 'config/missing-flag', '<name>'],
    [['report'], 'config/missing-flag', '<evaluation> and --out'],
    [['train', '--seed', '0', '--seed', '0'], 'config/flag-twice', '--seed'],
    [['train', '--l1-coefficient', '3'], 'config/unknown-flag', '--l1-coefficient', '--l1?'],
    [['--config', 'x.yaml'], 'cli/no-command', 'sae-pipe --help'],
    [[], 'cli/no-command', 'sae-pipe --help'],
    [train(['--d-sae', 'many']), 'config/wrong-value', '--d-sae', '"many"'],
    [train(['--d-sae', '0']), 'config/wrong-value', '--d-sae', '"0"'],
    [train(['--d-sae', '8', '--arch', 'batchtop']), 'config/wrong-value', '--arch', '"batchtop"', /gated.*standard/],
    [train(['--activations', 'y', '--d-sae', '8', '--out', 'z']), 'config/flag-twice', '--activations'],
    [['train', '--config', yaml], 'config/unknown-flag', 'train.d-sea', 'train.d-sae?'],
    [['train', '--config', join(root, 'none.yaml')], 'config/file-not-readable', join(root, 'none.yaml')],
    [['report', 'a', 'b', '--out', 'c'], 'cli/surplus-argument', '"b"'],
    [['train', '--config', yaml, '--config', yaml], 'config/flag-twice', '--config'],
    [['constructor'], 'cli/unknown-command', '"constructor"'],
    [['eval', '--sae'], 'config/no-value', '--sae'],
  ] as const) {
    const outcome = await run(...logged(args));
    refusedUsage(outcome, code, ...named);
    assert.equal(outcome.stdout, '');
    assert.equal(outcome.stderr.trim().split('\n').length, 1, outcome.stderr);
  }
});

test('a mistake is printed as one line of plain text: what is wrong, then what to do', async () => {
  for (const [args, line] of [
    [['trian'], /^sae-pipe: "trian" is not a command\. Did you mean train\?\n$/],
    [['report'], /^sae-pipe: <evaluation> and --out are missing\. \S[^\n]*\.\n$/],
    [['--log=text'], /^sae-pipe: No command given\. \S[^\n]*\.\n$/],
  ] as const) {
    const { code, stdout, stderr } = await run(...args);
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, line);
  }
});

test('the bundled configurations are complete for every stage they name', () => {
  for (const file of ['configs/tiny-gemma.yaml', 'configs/tiny-gemma-standard.yaml']) {
    const sections = Object.keys(parse(readFileSync(file, 'utf8')) as object) as StageName[];
    assert.ok(sections.length > 0);
    for (const stage of sections) loadConfig(stage, {}, file);
  }
});

test('the command may stand after a flag, and help is a command', async () => {
  const outcome = await run(...logged(['--config', 'configs/none.yaml', 'train']));
  refusedUsage(outcome, 'config/file-not-readable', 'none.yaml');
  assert.match((await run('help', 'train')).stdout, /^sae-pipe train .*--d-sae <number> .*\[flags\]/);
});
