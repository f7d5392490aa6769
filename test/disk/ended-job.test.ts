import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LOCK_FILE, lockDirectory } from '../../src/disk/lock.js';
import { thisProcess } from '../../src/disk/lock-owner.js';
import { refuses } from '../config/refuses.js';
import { onCluster, withSlurm } from '../machine/fake-slurm.js';
import { temporaryDirectory } from '../temporary.js';

const job = { cluster: 'c', id: '7', restarts: 0 };
const scontrol = onCluster('c');

test('an owner elsewhere whose Slurm job is over is taken over, and named; one whose job runs is not', async (t) => {
  const path = temporaryDirectory(t);
  const elsewhere = { ...thisProcess(), host: 'node-17', machine: 'another', job };
  writeFileSync(join(path, LOCK_FILE), JSON.stringify(elsewhere));
  const told: string[] = [];
  const takeOver = { unchecked: false, say: (line: string) => void told.push(line) };

  withSlurm(t, { scontrol, squeue: 'echo "7|RUNNING"' });
  await refuses(() => lockDirectory(path, takeOver), 'disk/in-use-elsewhere', 'node-17', '--take-over');
  assert.equal(JSON.parse(readFileSync(join(path, LOCK_FILE), 'utf8')).id, elsewhere.id);
  assert.equal(told.length, 0);

  withSlurm(t, { scontrol, squeue: 'echo "7|FAILED"' });
  const lock = await lockDirectory(path, takeOver);
  assert.ok(lock.tookOver);
  assert.equal(told.length, 1);
  for (const part of ['node-17', 'job 7', path]) assert.ok(told[0]!.includes(part), told[0]);
  await lock.release();
});

test('without a job in the lock, Slurm is not asked', async (t) => {
  const path = temporaryDirectory(t);
  const asked = join(path, 'asked');
  withSlurm(t, { scontrol: `touch ${asked}; ${scontrol}`, squeue: `touch ${asked}; echo "7|COMPLETED"` });
  writeFileSync(join(path, LOCK_FILE), JSON.stringify({ ...thisProcess(), host: 'node-17', job: undefined }));
  await refuses(() => lockDirectory(path), 'disk/in-use-elsewhere', 'node-17');
  assert.throws(() => readFileSync(asked), { code: 'ENOENT' });
});
