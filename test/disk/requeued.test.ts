import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LOCK_FILE, lockDirectory } from '../../src/disk/lock.js';
import { thisProcess } from '../../src/disk/lock-owner.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const VARIABLES = ['SLURM_JOB_ID', 'SLURM_CLUSTER_NAME', 'SLURM_RESTART_COUNT', 'SLURMD_NODENAME'] as const;

/** This process in a start of a Slurm job. */
function inJob(id: string, restarts: number, cluster = 'c'): void {
  const values = [id, cluster, String(restarts), 'node-3'];
  for (const [i, name] of VARIABLES.entries()) process.env[name] = values[i];
}

test('the lock of an earlier start of the same job, on another node, is taken over; no other job’s is', async (t) => {
  t.after(() => {
    for (const name of VARIABLES) delete process.env[name];
  });
  const path = temporaryDirectory(t);
  inJob('7', 1);
  const elsewhere = { ...thisProcess(), host: 'node-17', machine: 'another' };
  assert.deepEqual(elsewhere.job, { cluster: 'c', id: '7', restarts: 1 });
  writeFileSync(join(path, LOCK_FILE), JSON.stringify(elsewhere));
  const others = [
    ['8', 2, 'c'],
    ['7', 2, 'd'],
    ['7', 1, 'c'],
    ['7', 0, 'c'],
  ] as [string, number, string][];
  for (const other of others) {
    inJob(...other);
    await refuses(() => lockDirectory(path), 'disk/in-use-elsewhere', 'node-17');
  }
  inJob('7', 2);
  const lock = await lockDirectory(path);
  assert.ok(lock.tookOver);
  await lock.release();
});

test('a lock does not name the job of a shell that Slurm did not start: its end ends nothing there', (t) => {
  t.after(() => {
    for (const name of VARIABLES) delete process.env[name];
  });
  inJob('7', 0);
  delete process.env.SLURMD_NODENAME;
  assert.equal(thisProcess().job, undefined);
});
