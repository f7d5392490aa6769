import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { memory } from '../../src/machine/memory.js';
import { temporaryDirectory } from '../temporary.js';

type Group = Record<string, string | number>;

/** A system of 1000 bytes, 800 of them free, with the groups given by their directories. */
function system(t: { after: (end: () => void) => void }, cgroup: string, groups: Record<string, Group>) {
  const mount = temporaryDirectory(t);
  for (const [path, files] of Object.entries(groups)) {
    mkdirSync(join(mount, path), { recursive: true });
    for (const [name, content] of Object.entries(files)) writeFileSync(join(mount, path, name), `${content}\n`);
  }
  writeFileSync(join(mount, 'self'), cgroup);
  return { total: 1000, free: 800, cgroup: join(mount, 'self'), mount };
}

test('without a limit, memory is the machine’s', (t) => {
  const groups = { 'a.slice': { 'memory.max': 'max', 'memory.current': 10 } };
  assert.deepEqual(memory(system(t, '0::/a.slice\n', groups)), { total: 1000, limit: 1000, available: 800 });
  const huge = { memory: { 'memory.limit_in_bytes': '9223372036854771712' } };
  assert.deepEqual(memory(system(t, '4:memory:/\n', huge)), { total: 1000, limit: 1000, available: 800 });
  assert.equal(memory({ total: 5, free: 4, cgroup: '/nowhere', mount: '/nowhere' }).available, 4);
});

test('a limit above this process’s own group counts, and caches do not count as used', (t) => {
  const groups = {
    slurm: { 'memory.max': 'max', 'memory.current': 900 },
    'slurm/job_1': { 'memory.max': 500, 'memory.current': 300, 'memory.stat': 'anon 200\ninactive_file 60' },
    'slurm/job_1/task_0': { 'memory.max': 'max', 'memory.current': 100 },
  };
  const found = memory(system(t, '0::/slurm/job_1/task_0\n', groups));
  assert.deepEqual(found, { total: 1000, limit: 500, available: 500 - (300 - 60) });
});

test('of two limits the tighter one applies, to free memory as well', (t) => {
  const groups = {
    outer: { 'memory.max': 600, 'memory.current': 590 },
    'outer/inner': { 'memory.max': 400, 'memory.current': 100 },
  };
  assert.deepEqual(memory(system(t, '0::/outer/inner\n', groups)), { total: 1000, limit: 400, available: 10 });
});

test('control groups of version 1 are read, too', (t) => {
  const files = { 'memory.limit_in_bytes': 700, 'memory.usage_in_bytes': 300, 'memory.stat': 'total_inactive_file 50' };
  const cgroup = '9:name=systemd:/x\n4:cpu,memory:/docker/y\n0::/\n';
  const found = memory(system(t, cgroup, { 'memory/docker/y': files }));
  assert.deepEqual(found, { total: 1000, limit: 700, available: 450 });
});

test('this machine has memory', () => {
  const { total, limit, available } = memory();
  assert.equal(total, totalmem());
  assert.ok(limit <= total && available <= limit && available > 2 ** 20);
});
