import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import type { z } from 'zod';
import { flagsOf } from '../../src/config/flags.js';
import { loadConfig } from '../../src/config/load.js';
import { STAGES, type StageName } from '../../src/config/stages.js';
import { temporaryDirectory } from '../temporary.js';
import { refusesUsage } from './refuses.js';

const required = { model: 'm', corpus: 'c', hook: ['h'], tokens: 10, out: 'o' };

function yaml(t: TestContext, text: string): string {
  const file = join(temporaryDirectory(t), 'config.yaml');
  writeFileSync(file, text);
  return file;
}

test('flags given alone are completed with defaults under their schema keys', () => {
  const config = loadConfig('harvest', { ...required, 'rows-per-shard': 7 });
  assert.equal(config.rowsPerShard, 7);
  assert.equal(config.model, 'm');
  assert.equal(config.dtype, 'auto');
  assert.equal(config.seed, 0);
  assert.equal(config.overwrite, false);
  assert.equal(config.context, undefined);
});

test('values come from the section of the stage in the file', (t) => {
  const file = yaml(t, 'harvest: {model: m, corpus: c, hook: [a, b], tokens: 5, out: o, rows-per-shard: 3}');
  const config = loadConfig('harvest', {}, file);
  assert.deepEqual(config.hook, ['a', 'b']);
  assert.equal(config.tokens, 5);
  assert.equal(config.rowsPerShard, 3);
  assert.equal(config.batch, 16);
});

test('a text that YAML parses as a number keeps its spelling', (t) => {
  const file = yaml(t, 'train: {activations: acts, out: o, d-sae: 8, checkpoint-every: 7}');
  assert.equal(loadConfig('train', {}, file).checkpointEvery, '7');
  for (const [written, read] of Object.entries({ '2.5k': '2500', '1_000': '1000', '10min': '10min', '0': '0' })) {
    assert.equal(loadConfig('train', { 'checkpoint-every': written }, file).checkpointEvery, read);
  }
  return refusesUsage(
    () => loadConfig('train', { 'checkpoint-every': '1.5' }, file),
    'config/wrong-value',
    '--checkpoint-every',
    '10min',
  );
});

test('the command line wins over the file, key by key', (t) => {
  const file = yaml(t, 'harvest: {model: m, corpus: c, hook: [a, b], tokens: 5, out: o, resume: true, seed: 4}');
  const config = loadConfig('harvest', { tokens: 6, hook: ['z'], resume: false }, file);
  assert.equal(config.tokens, 6);
  assert.deepEqual(config.hook, ['z']);
  assert.equal(config.resume, false);
  assert.equal(config.seed, 4);
});

test('a repeated flag may be written as a single value', (t) => {
  const file = yaml(t, 'harvest: {model: m, corpus: c, hook: a, tokens: 5, out: o}');
  assert.deepEqual(loadConfig('harvest', {}, file).hook, ['a']);
  assert.deepEqual(loadConfig('harvest', { ...required, hook: 'b' }).hook, ['b']);
});

test('numbers and choices of a repeated flag may be separated by commas', async (t) => {
  const given = { activations: 'a', out: 'o', 'd-sae': 8 };
  assert.deepEqual(loadConfig('train', { ...given, 'resample-at': '10, 20,30' }).resampleAt, [10, 20, 30]);
  assert.deepEqual(loadConfig('train', { ...given, 'resample-at': ['10', '20,30'] }).resampleAt, [10, 20, 30]);
  const file = yaml(t, 'sweep: {out: o, arch: "gated,standard", l1: [1, 2]}');
  const { arch, l1 } = loadConfig('sweep', {}, file);
  assert.deepEqual(
    [arch, l1],
    [
      ['gated', 'standard'],
      [1, 2],
    ],
  );
  for (const bad of ['10,x', '10,', '']) {
    await refusesUsage(
      () => loadConfig('train', { ...given, 'resample-at': bad }),
      'config/wrong-value',
      '--resample-at: ',
    );
  }
});

test('choices and hooks may be separated by commas, on the command line and in a file; paths may not', async (t) => {
  const given = { activations: 'a', out: 'o', 'd-sae': 8 };
  const both = ['no-r-mag', 'l1-on-f'];
  // A flag of one architecture.
  const ablate = (values: Record<string, unknown>, file?: string) =>
    (loadConfig('train', values, file) as Record<string, unknown>).ablate;
  assert.deepEqual(ablate({ ...given, ablate: 'no-r-mag,l1-on-f' }), both);
  assert.deepEqual(ablate({ ...given, ablate: ['no-r-mag', 'l1-on-f'] }), both);
  assert.deepEqual(loadConfig('train', { ...given, train: ['r_mag, b_mag', 'W_dec'] }).train, [
    'r_mag',
    'b_mag',
    'W_dec',
  ]);
  for (const text of ['"no-r-mag, l1-on-f"', '[no-r-mag, l1-on-f]']) {
    assert.deepEqual(ablate(given, yaml(t, `train: {ablate: ${text}}`)), both);
  }
  assert.equal(ablate(given), undefined);
  assert.deepEqual(loadConfig('harvest', { ...required, hook: ['a, b', 'c'] }).hook, ['a', 'b', 'c']);
  assert.deepEqual(loadConfig('eval', { sae: 'a,b', model: 'm', corpus: 'c', out: 'o' }).sae, ['a,b']);
  await refusesUsage(
    () => loadConfig('train', { ...given, ablate: 'no-r-mag,no-bias' }),
    'config/wrong-value',
    '--ablate: ',
  );
  await refusesUsage(() => loadConfig('train', { ...given, train: 'r_mag,' }), 'config/wrong-value', '--train: ');
});

test('sections of other stages are left alone, and a missing or blank one is empty', (t) => {
  const file = yaml(t, 'train: {nonsense: 1}\nharvest:\n');
  assert.equal(loadConfig('harvest', required, file).model, 'm');
  assert.equal(loadConfig('report', { evaluation: 'e', out: 'r.html' }, file).evaluation, 'e');
});

test('an unknown flag is refused with the nearest one', () =>
  refusesUsage(
    () => loadConfig('harvest', { ...required, tokns: 3 }),
    'config/unknown-flag',
    '--tokns',
    'Did you mean --tokens?',
  ));

test('a schema key in camel case is not a flag', () =>
  refusesUsage(
    () => loadConfig('harvest', { ...required, rowsPerShard: 3 }),
    'config/unknown-flag',
    '--rowsPerShard',
    '--rows-per-shard?',
  ));

test('an unknown key in the file is refused with file, section and the nearest one', (t) => {
  const file = yaml(t, 'harvest: {modle: m}');
  return refusesUsage(
    () => loadConfig('harvest', required, file),
    'config/unknown-flag',
    file,
    'harvest.modle',
    'harvest.model?',
  );
});

test('an unknown section is refused with the nearest one, whatever stage is wanted', (t) => {
  const file = yaml(t, 'harvset: {model: m}');
  return refusesUsage(() => loadConfig('train', {}, file), 'config/unknown-section', file, 'harvset');
});

test('a file that is missing or not YAML is refused by name', async (t) => {
  const file = yaml(t, 'harvest: [1, 2\ntrain: }');
  await refusesUsage(() => loadConfig('harvest', required, file), 'config/not-yaml', file, 'not YAML');
  await refusesUsage(
    () => loadConfig('harvest', required, `${file}.gone`),
    'config/file-not-readable',
    `${file}.gone`,
    'ENOENT',
  );
});

test('a file without sections is refused', async (t) => {
  for (const text of ['', '- harvest', 'harvest', '3']) {
    const file = yaml(t, text);
    await refusesUsage(() => loadConfig('harvest', required, file), 'config/no-sections', file, '"harvest:"');
  }
});

test('a section that is not a mapping is refused by name', async (t) => {
  for (const text of ['harvest: 3', 'harvest: [model, m]', 'harvest: model']) {
    const file = yaml(t, text);
    await refusesUsage(() => loadConfig('harvest', required, file), 'config/wrong-section', file, 'section "harvest"');
  }
});

test('each missing required flag is named', async () => {
  for (const name of Object.keys(required)) {
    const { [name as keyof typeof required]: _, ...rest } = required;
    await refusesUsage(() => loadConfig('harvest', rest), 'config/missing-flag', `--${name} is missing`);
  }
  await refusesUsage(
    () => loadConfig('train', { activations: 'a', out: 'o' }),
    'config/missing-flag',
    '--d-sae is missing',
  );
});

test('a value of the wrong type is refused, naming where it stands', async (t) => {
  await refusesUsage(() => loadConfig('harvest', { ...required, tokens: 'many' }), 'config/wrong-value', '--tokens');
  await refusesUsage(
    () => loadConfig('harvest', { ...required, tokens: Number.NaN }),
    'config/wrong-value',
    '--tokens',
  );
  const file = yaml(t, 'harvest: {tokens: many}');
  const { tokens: _, ...rest } = required;
  await refusesUsage(() => loadConfig('harvest', rest, file), 'config/wrong-value', `${file}, harvest.tokens`);
  const blank = yaml(t, 'harvest: {tokens: }');
  await refusesUsage(() => loadConfig('harvest', rest, blank), 'config/wrong-value', `${blank}, harvest.tokens`);
});

test('a value out of range is refused, naming the flag', async () => {
  const bad: [StageName, Record<string, unknown>, string][] = [
    ['harvest', { ...required, tokens: 0 }, '--tokens'],
    ['harvest', { ...required, tokens: 1.5 }, '--tokens'],
    ['harvest', { ...required, context: 1 }, '--context'],
    ['harvest', { ...required, seed: 2 ** 32 }, '--seed'],
    ['harvest', { ...required, dtype: 'float8' }, '--dtype'],
    ['train', { activations: 'a', out: 'o', 'd-sae': 8, l1: -1 }, '--l1'],
    ['train', { activations: 'a', out: 'o', 'd-sae': 8, beta2: 1 }, '--beta2'],
    ['train', { activations: 'a', out: 'o', 'd-sae': 8, lr: 0 }, '--lr'],
  ];
  for (const [stage, given, name] of bad)
    await refusesUsage(() => loadConfig(stage, given), 'config/wrong-value', `${name}: `);
  await refusesUsage(
    () => loadConfig('harvest', { ...required, hook: [] }),
    'config/wrong-value',
    '--hook has no value',
  );
  assert.equal(loadConfig('harvest', { ...required, context: 2, seed: 2 ** 32 - 1 }).seed, 2 ** 32 - 1);
});

test('a flag given twice is refused unless it may be repeated', async (t) => {
  await refusesUsage(
    () => loadConfig('harvest', { ...required, tokens: [1, 2] }),
    'config/flag-twice',
    '--tokens was given more than once',
  );
  const file = yaml(t, 'harvest: {tokens: [1, 2]}');
  await refusesUsage(
    () => loadConfig('harvest', required, file),
    'config/flag-twice',
    'harvest.tokens was given more than once',
  );
});

test('every file in configs/ holds only known sections, keys and values that fit', () => {
  const files = readdirSync('configs').filter((name) => name.endsWith('.yaml'));
  assert.ok(files.length > 0);
  for (const name of files) {
    const file = join('configs', name);
    const sections = parse(readFileSync(file, 'utf8')) as Record<StageName, Record<string, unknown>>;
    for (const stage of Object.keys(sections) as StageName[]) {
      // Paths and choices that the file leaves to the command line.
      const shape: Record<string, z.ZodType> = STAGES[stage].shape;
      const needed = flagsOf(STAGES[stage]).filter(({ key, type }) => {
        return type === 'string' && !shape[key]!.safeParse(undefined).success;
      });
      const left = needed.filter((flag) => !Object.hasOwn(sections[stage], flag.name));
      const given: Record<string, unknown> = Object.fromEntries(
        left.map((flag) => [flag.name, flag.choices?.[0] ?? 'x']),
      );
      // What a sweep says in its lists, run by run (test/sweep/runs.test.ts).
      if (stage === 'train' && sections.sweep && !Object.hasOwn(sections.train, 'd-sae')) given['d-sae'] = 8;
      const config = loadConfig(stage, given, file);
      for (const { key, name, repeated } of flagsOf(STAGES[stage])) {
        const written = sections[stage][name];
        if (written === undefined) continue;
        const expected = repeated && !Array.isArray(written) ? [written] : written;
        assert.deepEqual((config as Record<string, unknown>)[key], expected, `${file}, ${stage}.${name}`);
      }
    }
  }
});

test('a window is two numbers, and anything else is refused with that', async () => {
  const given = { sae: ['s'], model: 'm', corpus: 'c', out: 'o' };
  assert.deepEqual(loadConfig('features', { ...given, window: [3, 0] }).window, [3, 0]);
  for (const window of [[5], [1, 2, 3]]) {
    await refusesUsage(() => loadConfig('features', { ...given, window }), 'config/wrong-value', 'two numbers');
  }
});

test('a flag on the command line overrides a conflicting one in the file', () => {
  const file = 'configs/tiny-gemma.yaml';
  const config = loadConfig('train', { steps: 3 }, file);
  assert.equal(config.steps, 3);
  assert.equal(config.tokens, undefined);
  assert.equal(loadConfig('train', { lr: 1 }, file).tokens, 2_000_000);
});

test('a source of activations on the command line overrides the other kind in the file', (t) => {
  const live = yaml(
    t,
    'train: {model: m, corpus: c, hook: h, context: 64, revision: r, model-device: cuda, out: o, d-sae: 5}',
  );
  const stored = loadConfig('train', { activations: 'a' }, live);
  assert.equal(stored.activations, 'a');
  for (const key of ['model', 'corpus', 'hook', 'context', 'revision', 'modelDevice'] as const) {
    assert.equal(stored[key], undefined, key);
  }
  assert.equal(loadConfig('train', { lr: 1 }, live).model, 'm');
  const atWork = loadConfig('train', { model: 'm', corpus: 'c', hook: 'h' }, 'configs/tiny-gemma.yaml');
  assert.equal(atWork.activations, undefined);
  assert.equal(atWork.model, 'm');
});

test('YAML that expands without bound, or has custom tags, is refused by name', async (t) => {
  const levels = 'abcdefghi'.split('').map((name, i, all) => {
    const items = i === 0 ? 'x' : `*${all[i - 1]}`;
    return `${name}: &${name} [${Array(9).fill(items)}]`;
  });
  const bomb = `harvest:\n  ${levels.join('\n  ')}\n`;
  for (const text of [
    bomb,
    'harvest: {model: !custom m}',
    'harvest: !!js/function "x"',
    'harvest: {model: 1, model: 2}',
  ]) {
    const file = yaml(t, text);
    await refusesUsage(() => loadConfig('harvest', required, file), 'config/not-yaml', file, 'not YAML');
  }
});
