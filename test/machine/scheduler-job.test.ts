import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cores } from '../../src/machine/cores.js';
import { memory } from '../../src/machine/memory.js';
import { slurmJob } from '../../src/machine/scheduler-job.js';

const JOB = { SLURM_JOB_ID: '12', SLURM_CLUSTER_NAME: 'c', SLURM_CPUS_ON_NODE: '8' };

test('a job’s processors and memory are those of its task, not of the node', () => {
  const job = slurmJob({ ...JOB, SLURM_CPUS_PER_TASK: '3', SLURM_MEM_PER_NODE: '2048', SLURM_RESTART_COUNT: '2' });
  assert.deepEqual(job, { id: '12', cluster: 'c', restarts: 2, cores: 3, memory: 2 ** 31 });
  assert.equal(slurmJob({ ...JOB, SLURM_MEM_PER_CPU: '512' })?.memory, 2 ** 32);
  assert.deepEqual([cores(64, job), cores(2, job), cores(64, slurmJob(JOB)), cores(64, undefined)], [3, 2, 8, 64]);
  const node = { total: 2 ** 40, free: 2 ** 39, cgroup: '/nowhere', mount: '/nowhere' };
  assert.deepEqual(memory({ ...node, job: job!.memory }), { total: 2 ** 40, limit: 2 ** 31, available: 2 ** 31 });
});

test('outside a job, or without its variables, nothing is limited', () => {
  assert.equal(slurmJob({}), undefined);
  assert.equal(slurmJob({ SLURM_CPUS_ON_NODE: '8' }), undefined);
  const silent = slurmJob({ SLURM_JOB_ID: '1', SLURM_MEM_PER_NODE: '0', SLURM_CPUS_PER_TASK: 'many' });
  assert.deepEqual(silent, { id: '1', cluster: '', restarts: 0, cores: undefined, memory: undefined });
  assert.equal(cores(5, silent), 5);
});
