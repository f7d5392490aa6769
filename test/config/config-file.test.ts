import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadConfig } from '../../src/config/load.js';
import { temporaryDirectory } from '../temporary.js';
import { refusesUsage } from './refuses.js';

const root = temporaryDirectory();
const section = 'train:\n  activations: a\n  d-sae: 64\n  out: o\n';

function yaml(text: string | Uint8Array): string {
  const file = join(root, 'config.yaml');
  writeFileSync(file, text);
  return file;
}

test('what is not a regular file is refused at once: a pipe without a writer, an endless device', async () => {
  const pipe = join(root, 'pipe');
  execFileSync('mkfifo', [pipe]);
  mkdirSync(join(root, 'directory'));
  for (const file of [pipe, '/dev/zero', '/dev/null', join(root, 'directory')]) {
    await refusesUsage(
      () => loadConfig('train', {}, file),
      'config/not-a-file',
      file,
      file === join(root, 'directory') ? 'a directory' : 'not a regular file',
    );
  }
});

test('a file that is too large, or not UTF-8, is refused by name', async () => {
  const keys = Array.from({ length: 100_000 }, (_, i) => `  k${i}: ${i}\n`).join('');
  await refusesUsage(() => loadConfig('train', {}, yaml(`train:\n${keys}`)), 'config/file-too-large');
  await refusesUsage(
    () => loadConfig('train', {}, yaml(Buffer.from(`${section}  text-field: caf\xe9\n`, 'latin1'))),
    'config/not-utf8',
    'UTF-8',
  );
  assert.equal(loadConfig('train', {}, yaml(`\ufeff${section.replaceAll('\n', '\r\n')}`)).dSae, 64);
});

test('as many keys and levels as the size allows are refused in a sentence', async () => {
  const many = Array.from({ length: 40_000 }, (_, i) => `k${i.toString(36)}:\n`).join('');
  await refusesUsage(() => loadConfig('train', {}, yaml(many)), 'config/unknown-section');
  for (const deep of ['['.repeat(1e5), `train: ${'{a: '.repeat(2e4)}1${'}'.repeat(2e4)}`]) {
    await refusesUsage(() => loadConfig('train', {}, yaml(deep)), 'config/not-yaml', 'not YAML');
  }
  await refusesUsage(
    () => loadConfig('train', {}, yaml('train: &t\n  out: *t\n')),
    'config/not-yaml',
    '*t is inside its own anchor',
  );
  await refusesUsage(
    () => loadConfig('train', {}, yaml(`train: &a [*a${', *a'.repeat(5e4)}]`)),
    'config/not-yaml',
    'aliases',
  );
  const aliases = Array.from({ length: 6000 }, (_, i) => `  k${i}: &k${i} x\n  j${i}: *k${i}\n`).join('');
  await refusesUsage(
    () => loadConfig('train', {}, yaml(`train:\n${aliases}`)),
    'config/not-yaml',
    'more than 100 aliases',
  );
  const shared = 'sweep: {out: &o runs/x}\ntrain: {activations: *o, d-sae: 8, out: *o}\n';
  assert.equal(loadConfig('train', {}, yaml(shared)).activations, 'runs/x');
});

test('a duplicate key is refused at any depth, and only the refusal is printed', async () => {
  await refusesUsage(
    () => loadConfig('train', {}, yaml(`${section}  d-sae: 128\n`)),
    'config/not-yaml',
    '"d-sae" appears twice',
  );
  await refusesUsage(
    () => loadConfig('train', {}, yaml(section + section)),
    'config/not-yaml',
    '"train" appears twice',
  );
  const group = 'sweep:\n  out: o\n  runs:\n    - {l1: 1, l1: 2}\n';
  await refusesUsage(() => loadConfig('sweep', {}, yaml(group)), 'config/not-yaml', '"l1" appears twice');
  await refusesUsage(
    () => loadConfig('train', {}, yaml(`${section}  ? [a, b]\n  : 1\n`)),
    'config/unknown-flag',
    'is not known',
  );
});

test('numbers in a file may be written as on the command line', () => {
  const file = yaml(`${section}  tokens: 2.5M\n  batch: 4Ki\n  pool-rows: 500_000\n  resample-at: [25k, 5e4]\n`);
  const { tokens, batch, poolRows, resampleAt } = loadConfig('train', {}, file);
  assert.deepEqual([tokens, batch, poolRows, resampleAt], [2_500_000, 4096, 500_000, [25_000, 50_000]]);
});

test('values of the wrong kind are named, whatever they are', async () => {
  for (const [text, code, ...named] of [
    ['lr: {a: 1}', 'config/wrong-value', 'train.lr', 'a mapping'],
    ['lr: 1MM', 'config/wrong-value', '"1MM"'],
    ['lr: .inf', 'config/wrong-value', 'Infinity'],
    ['overwrite: yes', 'config/wrong-value', '"yes"'],
    ['steps: 9007199254740993', 'config/wrong-value', 'train.steps'],
    ['text-field: "a\\0b"', 'config/nul-character', 'train.text-field'],
    ['l1_coefficient: 3', 'config/unknown-flag', 'train.l1_coefficient', 'train.l1?'],
    ['d_sae: 3', 'config/unknown-flag', 'train.d-sae?'],
  ] as const) {
    await refusesUsage(() => loadConfig('train', {}, yaml(`${section}  ${text}\n`)), code, ...named);
  }
});
