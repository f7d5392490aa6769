import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import type { EvalConfig } from '../../src/config/stages/eval.js';
import type { Candidate } from '../../src/eval/candidates.js';
import { seenText } from '../../src/eval/seen-text.js';

/** Is an SAE trained on `before` said to have seen text of `corpus`? */
function warns(before: string, corpus: string, { documents = {}, ...choice }: Record<string, unknown> = {}): boolean {
  const store = { model: '2:0', hook: 'hook_embed', rows: 1, dtype: 'float32', sha256: '0' };
  const activations = { ...store, corpus: before, documents };
  const cfg = { metadata: { sae_pipe: { activations } } };
  const candidates = [{ path: 'runs/gated', files: { cfg } }] as unknown as Candidate[];
  return seenText(candidates, { corpus: [corpus], ...choice } as unknown as EvalConfig) !== undefined;
}

test('text that training has seen is recognised however its path is written', () => {
  for (const path of ['texts', 'texts/', './texts', 'other/../texts', resolve('texts')]) {
    assert.ok(warns('texts/', path), path);
    assert.ok(warns(path, 'texts'), path);
  }
  assert.ok(!warns('texts', 'texts-2'));
  assert.ok(!warns('texts', '-'));
});

test('a file within the directory that training read, or around it, is seen text', () => {
  assert.ok(warns('texts', 'texts/a.txt'));
  assert.ok(warns('texts/a.txt', 'texts/'));
  assert.ok(!warns('texts/a.txt', 'texts/b.txt'));
});

test('held-out documents are not seen text; skipped ones only in the same order', () => {
  assert.ok(!warns('texts/', 'texts', { documents: { holdout: '10%' }, holdout: '10%' }));
  assert.ok(!warns('texts/', 'texts/a.txt', { documents: { holdout: '10%' }, holdout: '5%' }));
  assert.ok(warns('texts', 'texts', { documents: { holdout: '10%' }, holdout: '20%' }));
  assert.ok(!warns('texts/', 'texts', { documents: { most: 10 }, skipDocuments: 10 }));
  assert.ok(warns('texts', 'texts/a.txt', { documents: { most: 10 }, skipDocuments: 10 }));
});

test('a data set of the hub is one at every commit, and not a directory here', () => {
  assert.ok(warns('hf:me/texts@abc', 'hf:me/texts'));
  assert.ok(!warns('hf:me/texts', 'texts'));
});
