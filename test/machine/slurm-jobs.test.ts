import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jobState, listJobs } from '../../src/machine/slurm-jobs.js';
import { type FakeSlurm, FORGOTTEN, HANGS, onCluster, withSlurm } from './fake-slurm.js';

const JOB = { cluster: 'c', id: '7' };
/** Milliseconds; what hangs is ended after them. */
const PATIENCE = 2000;
const scontrol = onCluster('c');
const says = (...lines: string[]) => lines.map((line) => `echo '${line}'`).join('; ');
const FAILS = "echo 'Unable to contact slurm controller' >&2; exit 1";

/** What is known of job 7 of cluster c, a job of this user. */
const standings: readonly (readonly [what: string, slurm: FakeSlurm, standing: string])[] = [
  ['the controller says that it has ended', { scontrol, squeue: says('7|COMPLETED') }, 'over'],
  ['every state of an end', { scontrol, squeue: says('7|NODE_FAIL'), sacct: says('7|RUNNING') }, 'over'],
  ['it runs', { scontrol, squeue: says('7|RUNNING') }, 'alive'],
  ['it waits to be started again', { scontrol, squeue: says('7|PENDING'), sacct: says('7|TIMEOUT') }, 'alive'],
  [
    'the accounting lies about a job that runs',
    { scontrol, squeue: says('7|RUNNING'), sacct: says('7|FAILED') },
    'alive',
  ],
  ['a state that is not known here', { scontrol, squeue: says('7|SIGNALING') }, 'alive'],
  ['one of two records runs', { scontrol, squeue: says('7|COMPLETED', '7|RUNNING') }, 'alive'],
  ['forgotten, and in the accounts', { scontrol, squeue: FORGOTTEN, sacct: says('7|CANCELLED by 0') }, 'over'],
  ['forgotten, still running in the accounts', { scontrol, squeue: FORGOTTEN, sacct: says('7|RUNNING') }, 'unknown'],
  ['forgotten, without accounts', { scontrol, squeue: FORGOTTEN, sacct: FAILS }, 'over'],
  ['only others are listed', { scontrol, squeue: says('17|COMPLETED', '7_1|COMPLETED') }, 'unknown'],
  ['the controller does not answer', { scontrol, squeue: FAILS, sacct: says('7|COMPLETED') }, 'unknown'],
  ['garbage', { scontrol, squeue: says('7', '|', 'COMPLETED|7') }, 'unknown'],
  ['another cluster', { scontrol: onCluster('d'), squeue: says('7|COMPLETED') }, 'unknown'],
  ['no cluster is named', { scontrol: FAILS, squeue: says('7|COMPLETED') }, 'unknown'],
  ['no squeue that works', { scontrol, sacct: says('7|COMPLETED') }, 'unknown'],
];

for (const [what, slurm, standing] of standings) {
  test(`a job’s state: ${what}`, async (t) => {
    withSlurm(t, slurm);
    assert.equal(await jobState(JOB, true, PATIENCE), standing);
  });
}

test('a job’s state: a program that hangs is not waited for, and the state is unknown', async (t) => {
  withSlurm(t, { scontrol, squeue: HANGS });
  assert.equal(await jobState(JOB, true, 100), 'unknown');
});

test('a job’s state does not depend on the user’s settings for squeue', async (t) => {
  // Another cluster, where a job of this number is over; and a filter that leaves out the requested one.
  const squeue =
    'if [ "$SLURM_CLUSTERS" = d ]; then echo "7|COMPLETED"; elif [ -z "$SQUEUE_USERS" ]; then echo "7|RUNNING"; fi';
  withSlurm(t, { scontrol, squeue, sacct: says('7|FAILED') });
  for (const [name, value] of [
    ['SLURM_CLUSTERS', 'd'],
    ['SQUEUE_USERS', 'other'],
  ] as const) {
    process.env[name] = value;
    t.after(() => void delete process.env[name]);
    assert.equal(await jobState(JOB, true, PATIENCE), 'alive', name);
    delete process.env[name];
  }
});

test('another user’s job that the controller does not show may be hidden', async (t) => {
  withSlurm(t, { scontrol, squeue: FORGOTTEN });
  assert.equal(await jobState(JOB, false, PATIENCE), 'unknown');
  withSlurm(t, { scontrol, squeue: FORGOTTEN, sacct: says('7|FAILED') });
  assert.equal(await jobState(JOB, false, PATIENCE), 'over');
});

test('jobs are listed from the queue and the accounts, tasks of arrays one by one', async (t) => {
  withSlurm(t, {
    squeue: says('12_0|RUNNING|/runs/a.slurm.sh', '12_1|PENDING|/runs/a.slurm.sh', 'nonsense'),
    sacct: says('12_0|RUNNING|0:0', '9|FAILED|2:0', '9.batch|FAILED|2:0', '8|CANCELLED by 1000|0:15'),
  });
  const listed = await listJobs(['12', '9', '8'], PATIENCE);
  assert.deepEqual(
    listed.sort((a, b) => a.id.localeCompare(b.id)),
    [
      { id: '12_0', state: 'RUNNING', script: '/runs/a.slurm.sh' },
      { id: '12_1', state: 'PENDING', script: '/runs/a.slurm.sh' },
      { id: '8', state: 'CANCELLED', script: '', exit: '0:15' },
      { id: '9', state: 'FAILED', script: '', exit: '2:0' },
    ],
  );
  withSlurm(t, { squeue: HANGS, sacct: FAILS });
  assert.deepEqual(await listJobs(['12'], 100), []);
});
