import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LOCK_FILE } from '../../src/disk/lock.js';
import { temporaryDirectory } from '../temporary.js';
import { begin, finish, runIn } from '../watch/runs.js';
import { logged, refused } from './refused.js';
import { run } from './run-program.js';

test('status prints a table or JSON, and exits 1 where something failed', async () => {
  const root = temporaryDirectory();
  const [one, other] = [runIn(root, 'one', 20), runIn(root, 'other', 200)];
  begin(one);
  finish(other);
  const shown = await run('status', one, other);
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /^running +train .*20 of 200 steps/m);
  assert.match(shown.stdout, /^finished +train /m);
  rmSync(join(one, LOCK_FILE));
  writeFileSync(join(root, 'one.slurm.sh'), '');
  writeFileSync(join(root, 'one.slurm-3.log'), 'sae-pipe: exit code 1\n');
  const failed = await run(...logged(['status', root, '--json']));
  refused({ ...failed, stdout: '' }, 'status/failed', one);
  const { work } = JSON.parse(failed.stdout) as { work: { state: string }[] };
  assert.deepEqual(
    work.map(({ state }) => state),
    ['failed', 'finished'],
  );
  refused(await run(...logged(['status', join(root, 'none')])), 'status/no-directory', 'none');
});
