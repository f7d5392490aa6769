import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { rowsExpected } from '../../src/activations/part-rows.js';
import { checkEnoughWindows, checkNeighbours, partOf } from '../../src/harvest/part.js';
import { emptyManifest } from '../activations/synthetic.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

test('--shard is a part by its number, or by the task of an array', async () => {
  assert.equal(partOf(undefined), undefined);
  assert.deepEqual(partOf('1/4'), { index: 1, of: 4 });
  assert.equal(partOf('0/1'), undefined);
  const slurm = (id: number, [min, max, count]: readonly number[]) => ({
    SLURM_ARRAY_TASK_ID: String(id),
    ...{ SLURM_ARRAY_TASK_MIN: String(min), SLURM_ARRAY_TASK_MAX: String(max), SLURM_ARRAY_TASK_COUNT: String(count) },
  });
  assert.deepEqual(partOf('auto', slurm(2, [0, 3, 4])), { index: 2, of: 4 });
  assert.deepEqual(partOf('auto/4', { JOB_COMPLETION_INDEX: '3' }), { index: 3, of: 4 });
  // One task of four that is submitted again is an array of one.
  const alone = slurm(2, [2, 2, 1]);
  assert.deepEqual(partOf('auto/4', alone), { index: 2, of: 4 });
  const refused = [
    ['4/4', {}, 'harvest/no-such-part'],
    ['auto/2', alone, 'harvest/no-such-part'],
    ['auto', alone, 'harvest/no-task'],
    ['auto', slurm(3, [1, 4, 4]), 'harvest/no-task'],
    ['auto', { JOB_COMPLETION_INDEX: '0' }, 'harvest/no-task'],
    ['auto/4', {}, 'harvest/no-task'],
  ] as const;
  for (const [shard, environment, code] of refused) await refusesUsage(() => partOf(shard, environment), code, shard);
});

test('rows of the parts make up the whole; parts beyond its windows are refused', async () => {
  // Windows of 3 groups of 2 contexts with 4 rows each: 24.
  for (const [rows, of] of [
    [240, 3],
    [250, 4],
    [97, 4],
    [1000, 7],
  ] as const) {
    const expected = Array.from({ length: of }, (_, index) =>
      rowsExpected(emptyManifest(rows, { part: { index, of } })),
    );
    assert.equal(
      expected.reduce((sum, part) => sum + part, 0),
      rows,
    );
    assert.ok(Math.max(...expected) - Math.min(...expected) <= 24);
  }
  checkEnoughWindows(emptyManifest(97, { part: { index: 0, of: 5 } }));
  const few = (rows: number) => () => checkEnoughWindows(emptyManifest(rows, { part: { index: 0, of: 5 } }));
  await refusesUsage(few(96), 'harvest/too-many-parts', '--window-rows 16', '4 parts');
  await refusesUsage(few(20), 'harvest/too-many-parts', 'more --tokens');
});

test('a harvest is refused next to one that is divided differently', async (t) => {
  const out = temporaryDirectory(t);
  const check = (of?: number) => () => checkNeighbours(out, 'hook', of === undefined ? undefined : { index: 1, of });
  await check()();
  mkdirSync(join(out, 'hook', 'part-0-of-4'), { recursive: true });
  await check(4)();
  await refuses(check(2), 'harvest/other-parts', 'part of 4');
  await refuses(check(), 'harvest/other-parts');
  mkdirSync(join(out, 'whole'));
  writeFileSync(join(out, 'whole', 'manifest.json'), '');
  await refuses(() => checkNeighbours(out, 'whole', { index: 0, of: 2 }), 'harvest/other-parts', 'complete store');
  await checkNeighbours(out, 'whole', undefined);
});
