import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import type { Inspection } from '../../src/inspect/figures.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { logged, refusedUsage } from './refused.js';
import { run } from './run-program.js';

const root = temporaryDirectory();
let store: string;

before(async () => {
  store = await tinyActivations(root);
});

test('inspect prints a table, or JSON with the tokens in their text, and writes a figure', async () => {
  const table = await run('inspect', store);
  assert.equal(table.code, 0, table.stderr);
  assert.match(table.stdout, /^γ .* after per-token LayerNorm$/m);
  const svg = join(root, 'acts.svg');
  // A directory stands for its only store.
  const { code, stdout, stderr } = await run(
    ...['inspect', join(root, 'acts'), '--model', 'assets/tiny-gemma', '--json', '--out', svg],
  );
  assert.equal(code, 0, stderr);
  const found = JSON.parse(stdout) as Inspection;
  assert.equal(found.rows, 4000);
  assert.ok(found.longest_tokens.every(({ text, before }) => text !== undefined && before !== undefined));
  assert.ok(found.effective_rank.all! > 1 && found.effective_rank.all! <= 192);
  assert.match(readFileSync(svg, 'utf8'), /^<svg xmlns=/);
});

test('inspect refuses what is not a store, and another ending, before it reads anything', async () => {
  const out = join(root, 'acts.png');
  refusedUsage(await run(...logged(['inspect', store, '--out', out])), 'report/unknown-ending', '.svg');
  assert.ok(!existsSync(out));
  const { code, stderr } = await run('inspect', root);
  assert.equal(code, 1);
  assert.match(stderr, /not an activation store/);
});
