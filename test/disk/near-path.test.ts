import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { nearPath } from '../../src/errors/nearest.js';
import { temporaryDirectory } from '../temporary.js';

test('the entry that a path is a slip of, in its directory or in one whose name is a slip', async () => {
  const root = temporaryDirectory();
  mkdirSync(join(root, 'assets', 'tiny-gemma'), { recursive: true });
  writeFileSync(join(root, 'assets', 'train.jsonl'), '');
  assert.equal(await nearPath(join(root, 'assets', 'tiny-gema')), join(root, 'assets', 'tiny-gemma'));
  assert.equal(await nearPath(join(root, 'asets', 'tiny-gemma')), join(root, 'assets', 'tiny-gemma'));
  assert.equal(await nearPath(join(root, 'assets', 'trian.jsonl')), join(root, 'assets', 'train.jsonl'));
  for (const far of ['elsewhere', 'assets/gpt2', 'nowhere/tiny-gemma'])
    assert.equal(await nearPath(join(root, far)), undefined);
  assert.equal(await nearPath('/no-such-root/x'), undefined);
  assert.equal(await nearPath('./asets'), 'assets');
});
