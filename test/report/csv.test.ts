import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeReport } from '../../src/report/report.js';
import { csvOf } from '../../src/report/sae-tables.js';
import { temporaryDirectory } from '../temporary.js';
import { entries, evalRecord } from './sample.js';

test('the tables are a row per SAE with every digit, ends of intervals, and empty cells for what is missing', () => {
  const [head, first, second, end] = csvOf(
    entries(
      { sae: 'a,"b"', l0: 1 / 3, intervals: { l0: [0.25, 0.5] }, cfg: { l1: 1.5 } },
      { sae: 'c', l0: 0.1, kl: Number.NaN, ce_mean: null, cfg: { l1: 3 } },
    ),
  ).split('\r\n');
  const of = (row: string) =>
    Object.fromEntries(row.split(/,(?=(?:[^"]*"[^"]*")*[^"]*$)/).map((cell, i) => [head!.split(',')[i]!, cell]));
  assert.equal(of(first!).sae, '"a,""b"""');
  assert.equal(of(first!).name, '"gated, λ 1.5"');
  const { lambda, l0, l0_low, l0_high, loss_recovered } = of(first!);
  assert.deepEqual([lambda, l0, l0_low, l0_high, loss_recovered], ['1.5', String(1 / 3), '0.25', '0.5', '0.95']);
  const { kl, kl_low, ce_mean, hook } = of(second!);
  assert.deepEqual([kl, kl_low, ce_mean, hook], ['', '', '', 'blocks.1.hook_resid_post']);
  assert.equal(end, '');
});

test('report writes a page or a table, and refuses other endings without writing', async (t) => {
  const root = temporaryDirectory(t);
  const evaluation = join(root, 'eval');
  mkdirSync(evaluation);
  writeFileSync(join(evaluation, 'eval.json'), JSON.stringify([evalRecord()]));
  const write = (name: string) => writeReport({ evaluation, out: join(root, name), overwrite: false } as never);
  assert.match(readFileSync(await write('t.csv'), 'utf8'), /^name,sae,family.*\r\ngated,runs\/a,gated/);
  assert.match(readFileSync(await write('p.html'), 'utf8'), /^<!doctype html>/);
  for (const name of ['p.pdf', 'p.png', 'p']) {
    await assert.rejects(write(name), /neither an \.html nor a \.csv/);
    assert.ok(!existsSync(join(root, name)));
  }
});
