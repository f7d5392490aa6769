import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { COMMANDS } from '../../src/cli/commands.js';
import { flagsOf } from '../../src/config/flags.js';
import { loadConfig } from '../../src/config/load.js';
import { STAGES, type StageName } from '../../src/config/stages.js';
import { temporaryDirectory } from '../temporary.js';
import { run } from './run-program.js';

const root = temporaryDirectory();

test('--help of every command names every flag with its help and default, and exits 0', async () => {
  for (const stage of Object.keys(STAGES) as StageName[]) {
    const { code, stdout, stderr } = await run(stage, '--help');
    assert.equal(code, 0, stderr);
    const text = stdout.replace(/\s+/g, ' ');
    for (const flag of flagsOf(STAGES[stage])) {
      const shown = COMMANDS[stage].positional === flag.name ? `<${flag.name}>` : `--${flag.name} `;
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

test('mistakes in the command exit 2 with one line that says what is meant', async () => {
  const yaml = join(root, 'wrong.yaml');
  writeFileSync(yaml, 'train:\n  d-sea: 12\n');
  for (const [args, message] of [
    [['trian'], /There is no command "trian"\. Did you mean train\?/],
    [['harvest', '--modle', 'x'], /--modle is not known\. Did you mean --model\?/],
    [['harvest'], /--model, --corpus, --hook, --tokens and --out are missing/],
    [['frobnicate'], /There is no command "frobnicate"\. (?!Did you mean)/],
    [['figure', 'paretto', '--out', 'x.svg'], /"paretto".*Did you mean pareto\?/],
    [['figure', '--out', 'x.svg'], /^sae-pipe: <name> is missing/],
    [['report'], /<evaluation> and --out are missing/],
    [['train', '--seed', '0', '--seed', '0'], /--seed was given more than once/],
    [['train', '--l1-coefficient', '3'], /--l1-coefficient is not known\. Did you mean --l1\?/],
    [['--config', 'x.yaml'], /No command is given/],
    [['--log=text'], /No command/],
    [['train', '--activations', 'x', '--d-sae', 'many'], /--d-sae: "many" is not a number/],
    [['train', '--activations', 'x', '--d-sae', '0'], /--d-sae: "0" is too small/],
    [
      ['train', '--activations', 'x', '--d-sae', '8', '--arch', 'batchtop'],
      /--arch: "batchtop" is not one of .*gated.*standard/,
    ],
    [
      ['train', '--activations', 'x', '--activations', 'y', '--d-sae', '8', '--out', 'z'],
      /--activations was given more than once/,
    ],
    [['train', '--config', yaml], /train\.d-sea is not known\. Did you mean .*train\.d-sae\?/],
    [['train', '--config', join(root, 'none.yaml')], /none\.yaml could not be read/],
    [['report', 'a', 'b', '--out', 'c'], /takes no argument "b"/],
    [['train', '--config', yaml, '--config', yaml], /--config was given more than once/],
    [['constructor'], /There is no command "constructor"/],
    [['eval', '--sae'], /--sae has no value/],
  ] as const) {
    const { code, stdout, stderr } = await run(...args);
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
    assert.equal(stdout, '');
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
    assert.doesNotMatch(stderr, /\n\s+at /);
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
  const { code, stderr } = await run('--config', 'configs/none.yaml', 'train');
  assert.equal(code, 2);
  assert.match(stderr, /none\.yaml could not be read/);
  assert.match((await run('help', 'train')).stdout, /^sae-pipe train .*--d-sae <number> .*\[flags\]/);
});
