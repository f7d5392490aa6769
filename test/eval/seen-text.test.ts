import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import type { EvalConfig } from '../../src/config/stages/eval.js';
import type { Candidate } from '../../src/eval/candidates.js';
import { seenText } from '../../src/eval/seen-text.js';
import { temporaryDirectory } from '../temporary.js';

/** Is an SAE trained on `before` said to have seen text of `corpus`? */
async function warns(
  before: string,
  corpus: string,
  { documents = {}, path = 'runs/gated', ...choice }: Record<string, unknown> = {},
): Promise<boolean> {
  const store = { model: '2:0', hook: 'hook_embed', rows: 1, dtype: 'float32', sha256: '0' };
  const activations = { ...store, corpus: before, documents };
  const cfg = { metadata: { sae_pipe: { activations } } };
  const candidates = [{ path, files: { cfg } }] as unknown as Candidate[];
  return (await seenText(candidates, { corpus: [corpus], ...choice } as unknown as EvalConfig)) !== undefined;
}

test('text that training has seen is recognised however its path is written', async () => {
  for (const path of ['texts', 'texts/', './texts', 'other/../texts', resolve('texts')]) {
    assert.ok(await warns('texts/', path), path);
    assert.ok(await warns(path, 'texts'), path);
  }
  assert.ok(!(await warns('texts', 'texts-2')));
  assert.ok(!(await warns('texts', '-')));
});

test('a file within the directory that training read, or around it, is seen text', async () => {
  assert.ok(await warns('texts', 'texts/a.txt'));
  assert.ok(await warns('texts/a.txt', 'texts/'));
  assert.ok(!(await warns('texts/a.txt', 'texts/b.txt')));
});

test('a path that was given in another directory is recognised: the run’s own, or one above the SAE', async (t) => {
  const [project, run] = [temporaryDirectory(t), temporaryDirectory(t)];
  const path = join(project, 'runs', 'gated');
  assert.ok(await warns('texts', join(project, 'texts/a.txt'), { path }));
  assert.ok(!(await warns('texts', join(project, 'other/texts'), { path })));
  assert.ok(!(await warns('.', join(project, 'texts'), { path })));
  assert.ok(!(await warns('/else/texts', join(project, 'texts'), { path })));
  assert.ok(!(await warns('texts', '/else/texts', { path: run })));
  writeFileSync(join(run, 'run.json'), JSON.stringify({ flags: {}, directory: '/else' }));
  assert.ok(await warns('texts', '/else/texts', { path: run }));
});

test('held-out documents are not seen text; skipped ones only in the same order', async () => {
  assert.ok(!(await warns('texts/', 'texts', { documents: { holdout: '10%' }, holdout: '10%' })));
  assert.ok(!(await warns('texts/', 'texts/a.txt', { documents: { holdout: '10%' }, holdout: '5%' })));
  assert.ok(await warns('texts', 'texts', { documents: { holdout: '10%' }, holdout: '20%' }));
  assert.ok(!(await warns('texts/', 'texts', { documents: { most: 10 }, skipDocuments: 10 })));
  assert.ok(await warns('texts', 'texts/a.txt', { documents: { most: 10 }, skipDocuments: 10 }));
});

test('a data set of the hub is one at every commit, and not a directory here', async () => {
  assert.ok(await warns('hf:me/texts@abc', 'hf:me/texts'));
  assert.ok(!(await warns('hf:me/texts', 'texts')));
});
