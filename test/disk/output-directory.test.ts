import assert from 'node:assert/strict';
import { existsSync, linkSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkOutputDirectory, claimOutputDirectory } from '../../src/disk/output-directory.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const ours = (name: string) => name === 'cfg.json' || name === 'weights';

function filled(t: TestContext, ...names: string[]): string {
  const path = join(temporaryDirectory(t), 'out');
  mkdirSync(path);
  for (const name of names) writeFileSync(join(path, name), name);
  return path;
}

test('a directory that is missing is made, with its parents', async (t) => {
  const path = join(temporaryDirectory(t), 'a', 'b');
  await claimOutputDirectory(path, { overwrite: false, ours });
  assert.ok(statSync(path).isDirectory());
});

test('an empty directory is taken as it is', async (t) => {
  const path = filled(t);
  await claimOutputDirectory(path, { overwrite: false, ours });
  assert.deepEqual(readdirSync(path), []);
});

test('a directory with something in it is refused and keeps it', async (t) => {
  const path = filled(t, 'cfg.json');
  await refuses(() => claimOutputDirectory(path, { overwrite: false, ours }), 'disk/out-exists', path, '--overwrite');
  assert.deepEqual(readdirSync(path), ['cfg.json']);
});

test('the refusal offers --resume exactly where the stage has it', async (t) => {
  const path = filled(t, 'cfg.json');
  await refuses(
    () => claimOutputDirectory(path, { overwrite: false, ours, resumeFlag: '--resume' }),
    'disk/out-exists',
    '--resume',
  );
  await assert.rejects(claimOutputDirectory(path, { overwrite: false, ours }), (error: { remedy: string }) => {
    return !error.remedy.includes('resume');
  });
});

test('overwriting deletes what the stage wrote, leftovers of a crash included', async (t) => {
  const path = filled(t, 'cfg.json', 'weights', 'weights.tmp', 'weights.0123456789abcdef.tmp');
  await claimOutputDirectory(path, { overwrite: true, ours });
  assert.deepEqual(readdirSync(path), []);
});

test('the file that marks the others as complete is deleted first', async (t) => {
  const path = filled(t, 'a', 'cfg.json', 'weights', 'z');
  const claim = { overwrite: true, ours: () => true };
  for (const result of ['z', 'cfg.json', 'a']) {
    assert.equal((await checkOutputDirectory(path, { ...claim, result }))[0], result);
  }
});

test('resuming removes the stage’s half-written files after a kill', async (t) => {
  const path = filled(t, 'cfg.json', 'weights.tmp', 'weights.0123456789abcdef.tmp', 'weights.0123.tmp', 'notes.tmp');
  await claimOutputDirectory(path, { overwrite: false, resume: true, ours });
  assert.deepEqual(readdirSync(path).sort(), ['cfg.json', 'notes.tmp', 'weights.0123.tmp']);
});

test('overwriting never deletes an input, under any name', async (t) => {
  const path = filled(t, 'cfg.json', 'weights');
  const other = filled(t, 'text');
  rmSync(join(path, 'weights'));
  linkSync(join(other, 'text'), join(path, 'weights'));
  symlinkSync(other, join(path, '..', 'link'));
  for (const input of [join(other, 'text'), other, join(path, '..', 'link')]) {
    const claim = { overwrite: true, ours, inputs: [undefined, join(path, 'missing'), input] };
    await refusesUsage(() => claimOutputDirectory(path, claim), 'disk/out-is-input', join(path, 'weights'), 'input');
  }
  await refusesUsage(
    () => checkOutputDirectory(path, { overwrite: true, ours, inputs: [path] }),
    'disk/out-is-input',
    'cfg.json',
  );
  assert.deepEqual(readdirSync(path), ['cfg.json', 'weights']);
  await claimOutputDirectory(path, { overwrite: true, ours, inputs: [filled(t, 'else')] });
  assert.deepEqual(readdirSync(path), []);
});

test('overwriting is refused if there is a foreign file, and nothing is deleted', async (t) => {
  const names = ['cfg.json', 'thesis.tex', 'weights'];
  const path = filled(t, ...names);
  await refuses(() => claimOutputDirectory(path, { overwrite: true, ours }), 'disk/foreign-files', path, 'thesis.tex');
  assert.deepEqual(readdirSync(path).sort(), names);
});

test('a foreign name that only ends in .tmp is foreign', async (t) => {
  const path = filled(t, 'thesis.tex.tmp');
  await refuses(() => claimOutputDirectory(path, { overwrite: true, ours }), 'disk/foreign-files', 'thesis.tex.tmp');
  assert.ok(existsSync(join(path, 'thesis.tex.tmp')));
});

test('resuming keeps everything, foreign files included', async (t) => {
  const path = filled(t, 'cfg.json', 'notes');
  await claimOutputDirectory(path, { overwrite: false, resume: true, ours });
  assert.deepEqual(readdirSync(path).sort(), ['cfg.json', 'notes']);
});

test('a file in the way is refused and kept, even when overwriting', async (t) => {
  const path = join(temporaryDirectory(t), 'out');
  writeFileSync(path, 'mine');
  await refuses(() => claimOutputDirectory(path, { overwrite: true, ours }), 'disk/out-not-a-directory', path);
  assert.ok(statSync(path).isFile());
});

test('a directory that cannot be made is refused by name', async (t) => {
  const file = join(temporaryDirectory(t), 'file');
  writeFileSync(file, '');
  const path = join(file, 'out');
  await refuses(
    () => claimOutputDirectory(path, { overwrite: false, ours }),
    'disk/parent-not-a-directory',
    path,
    `${file} is not a directory`,
  );
});
