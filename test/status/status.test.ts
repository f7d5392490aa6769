import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LOCK_FILE } from '../../src/disk/lock.js';
import { thisProcess } from '../../src/disk/lock-owner.js';
import { requireNothingFailed, statusOf } from '../../src/status/status.js';
import { statusTable } from '../../src/status/status-table.js';
import type { WorkStatus } from '../../src/status/work.js';
import { scriptOf } from '../../src/submit/script.js';
import { refuses } from '../config/refuses.js';
import { deadOwner } from '../disk/dead-owner.js';
import { FORGOTTEN, onCluster, withSlurm } from '../machine/fake-slurm.js';
import { temporaryDirectory } from '../temporary.js';
import { begin, finish, runIn } from '../watch/runs.js';

const SHA = 'a'.repeat(64);

/** A store with this many finished windows of 100 rows, of 1000 wanted, the last of which ended `age` seconds ago. */
function storeIn(
  root: string,
  name: string,
  windows: number,
  { complete = false, partial = 0, ...more }: { complete?: boolean; partial?: number; [key: string]: unknown } = {},
): string {
  const directory = join(root, name);
  mkdirSync(directory, { recursive: true });
  const contexts = Array.from({ length: windows }, (_, i) => ({
    ...{ file: `contexts-${i}.arrow`, first: i, contexts: 1, rows: 100, norm_sum: 1, sha256: SHA },
  }));
  const kept = { contexts: 1, contexts_sha256: SHA, rows: partial, norm_sum: 1, files: [] };
  const manifest = {
    ...{ format: 'sae-pipe-activations', version: 1, model: { name: 'm', fingerprint: 'f' }, hook: 'h', d_in: 4 },
    ...{ dtype: 'float16', context: 8, bos_token_id: 2, corpus: 'c', text_field: 't', seed: 0, batch: 1 },
    ...{ rows_per_shard: 100, window_batches: 1, rows_wanted: 1000, rows: 100 * windows, mean_norm: 1, complete },
    ...{ shards: [], contexts, partial: partial > 0 ? kept : null },
    ...more,
  };
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify(manifest));
  for (const [i, { file }] of contexts.entries()) {
    writeFileSync(join(directory, file), '');
    // Windows of ten seconds.
    utimesSync(join(directory, file), 2e9 + 10 * i, 2e9 + 10 * i);
  }
  return directory;
}

const lock = (directory: string, owner: object) => {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, LOCK_FILE), JSON.stringify({ ...thisProcess(), ...owner }));
};
const jobHere = { host: 'node-17', machine: 'another', job: { cluster: 'c', id: '12', restarts: 0 } };

async function statesIn(root: string): Promise<Record<string, string>> {
  const { work } = await statusOf([root]);
  return Object.fromEntries(work.map((one) => [one.directory.slice(root.length + 1), one.state]));
}
const only = async (directory: string): Promise<WorkStatus> => {
  const { work } = await statusOf([directory]);
  assert.equal(work.length, 1);
  return work[0]!;
};

test('stores are finished, running, stopped, or broken, with their rows, rate and time left', async (t) => {
  withSlurm(t, {});
  const root = temporaryDirectory(t);
  storeIn(root, 'whole', 10, { complete: true });
  lock(storeIn(root, 'running', 3), {});
  lock(storeIn(root, 'killed', 2, { partial: 40 }), await deadOwner());
  writeFileSync(join(storeIn(root, 'broken', 1), 'manifest.json'), '{"format": "sae-pipe-activations"');
  lock(join(root, 'beginning'), { command: 'sae-pipe harvest' });
  // Another program's.
  mkdirSync(join(root, 'other'));
  writeFileSync(join(root, 'other', 'manifest.json'), '{"format": "of another program"}');
  const { work } = await statusOf([root]);
  assert.deepEqual(await statesIn(root), {
    ...{ beginning: 'running', broken: 'failed', killed: 'stopped', running: 'running', whole: 'finished' },
  });
  const [, broken, killed, running, whole] = work;
  assert.deepEqual([whole!.done, whole!.total, whole!.rate], [1000, 1000, undefined]);
  assert.deepEqual([killed!.done, killed!.total], [240, 1000]);
  // Two windows after the first: 200 rows in 20 s.
  assert.deepEqual([running!.done, running!.rate, running!.left], [300, 10, 70]);
  assert.ok(broken!.reason!.includes('manifest.json'));
});

test('a stopped harvest is continued by the command in its manifest, from where it was given', async (t) => {
  withSlurm(t, {});
  const root = temporaryDirectory(t);
  const out = join(root, 'my acts');
  const command = { directory: process.cwd(), words: ['--model', 'm', '--tokens', '1000'] };
  const part = { index: 2, of: 4 };
  const words = `sae-pipe harvest --model m --tokens 1000 --out '${out}' --resume`;
  const resumeOf = async (name: string, more: Record<string, unknown>) =>
    (await only(storeIn(out, name, 2, more))).resume;
  assert.equal(await resumeOf('h', { command }), words);
  assert.equal(await resumeOf('g/part-2-of-4', { command, part }), words);
  const elsewhere = { ...command, directory: '/else where' };
  assert.equal(await resumeOf('f', { command: elsewhere }), `cd '/else where' && ${words}`);
  assert.equal(await resumeOf('e', {}), undefined);
  assert.equal(await resumeOf('d', { command, complete: true }), undefined);
});

test('the lock of a command that was killed tells how it is continued where nothing else does', async (t) => {
  withSlurm(t, {});
  const root = temporaryDirectory(t);
  const resumeOf = async (command: string, words: string[]) => {
    const directory = join(root, `${command} ${words.length}`);
    lock(directory, {
      ...(await deadOwner()),
      command: `sae-pipe ${command}`,
      given: { directory: process.cwd(), words },
    });
    return (await only(directory)).resume;
  };
  const words = ['--sae', 's', '--overwrite', '--out', 'o'];
  assert.equal(await resumeOf('eval', words), 'sae-pipe eval --sae s --overwrite --out o');
  assert.equal(await resumeOf('features', words), 'sae-pipe features --sae s --out o --resume');
  assert.equal(await resumeOf('harvest', [...words, '--corpus', '-']), undefined, 'its text was a pipe');
  for (const input of ['-', '/dev/fd/63']) {
    assert.equal(await resumeOf('train', ['--out', 'o', `--activations=${input}`]), undefined, 'so were its rows');
  }
  // A resumed command must not take over the lock of a later, living owner.
  assert.equal(await resumeOf('train', ['--take-over', '--out=o']), 'sae-pipe train --out=o --resume');
});

test('trainings: progress from the last lines, and the command that continues one that is stopped', async (t) => {
  withSlurm(t, {});
  const root = temporaryDirectory(t);
  begin(runIn(root, 'running', 20));
  finish(runIn(root, 'finished', 200));
  const stopped = runIn(root, 'stopped', 50);
  begin(stopped);
  rmSync(join(stopped, LOCK_FILE));
  assert.deepEqual(await statesIn(root), { finished: 'finished', running: 'running', stopped: 'stopped' });
  const { done, total, rate, left } = await only(join(root, 'running'));
  assert.deepEqual([done, total], [20, 200]);
  assert.ok(rate! > 0 && left! > 0);
  assert.equal((await only(stopped)).resume, `sae-pipe train --resume --out ${stopped}`);
  // What a stop keeps is not at a line of the curve.
  for (const step of ['00000040', '00000057']) writeFileSync(join(stopped, `checkpoint-${step}.safetensors`), '');
  assert.equal((await only(stopped)).done, 57);
});

test('an owner elsewhere runs as far as Slurm knows, and is gone where its job is over', async (t) => {
  const root = temporaryDirectory(t);
  const run = runIn(root, 'run', 20);
  begin(run);
  lock(run, jobHere);
  const scontrol = onCluster('c');
  withSlurm(t, { scontrol, squeue: 'echo "12|RUNNING"' });
  assert.deepEqual([(await only(run)).state, (await only(run)).checked], ['running', true]);
  withSlurm(t, { scontrol, squeue: FORGOTTEN, sacct: 'echo "12|NODE_FAIL"' });
  assert.equal((await only(run)).state, 'stopped');
  withSlurm(t, {});
  assert.deepEqual([(await only(run)).state, (await only(run)).checked], ['running', false]);
});

/** A sweep of two SAEs of which one is finished. */
function sweepIn(root: string): string {
  const out = join(root, 'sweep');
  mkdirSync(join(out, 'saes'), { recursive: true });
  const command = { stage: 'sweep', directory: process.cwd(), words: ['--config', 's.yaml'] };
  const plan = { format: 'sae-pipe-sweep', version: 1, saes: ['h/a', 'h/b'], evaluated: true, command };
  writeFileSync(join(out, 'sweep.json'), JSON.stringify(plan));
  finish(runIn(join(out, 'saes', 'h'), 'a', 200));
  return out;
}

test('a sweep counts its SAEs, and is finished with its report; its finished parts are not listed', async (t) => {
  withSlurm(t, {});
  const root = temporaryDirectory(t);
  const out = sweepIn(root);
  const sweep = async () => (await statusOf([root])).work.find(({ kind }) => kind === 'sweep')!;
  const { state, done, total, resume } = await sweep();
  assert.deepEqual([state, done, total], ['stopped', 1, 2]);
  assert.equal(resume, `sae-pipe sweep --config s.yaml --out ${out}`);
  const other = runIn(join(out, 'saes', 'h'), 'b', 20);
  begin(other);
  assert.equal((await sweep()).state, 'running', 'a task of an array holds its runs alone');
  finish(other);
  assert.equal((await sweep()).state, 'stopped', 'not evaluated');
  mkdirSync(join(out, 'eval'));
  writeFileSync(join(out, 'eval', 'eval.json'), '[]');
  writeFileSync(join(out, 'report.html'), '');
  assert.equal((await sweep()).state, 'finished');
  const table = statusTable(await statusOf([root]));
  assert.ok(table.includes('2 of 2 SAEs') && !table.includes('saes/h'), table);
});

/** What `submit` leaves next to OUT: the script, and a log of each job. */
function jobsIn(root: string, stem: string, logs: Readonly<Record<string, string>>): void {
  writeFileSync(join(root, `${stem}.slurm.sh`), '');
  for (const [id, text] of Object.entries(logs)) writeFileSync(join(root, `${stem}.slurm-${id}.log`), text);
}

test('a failed job that Slurm has forgotten is recognised by its log, and fails the command', async (t) => {
  withSlurm(t, {});
  const root = temporaryDirectory(t);
  const run = runIn(root, 'run', 20);
  begin(run);
  rmSync(join(run, LOCK_FILE));
  jobsIn(root, 'run', { 11: 'sae-pipe: exit code 0\n', 12: 'The disk is full.\nsae-pipe: exit code 1\n' });
  const status = await statusOf([root]);
  assert.deepEqual(
    status.jobs.map(({ id, state, exit }) => [id, state, exit]),
    [['12', 'FAILED', '1:0']],
  );
  const [work] = status.work;
  assert.equal(work!.state, 'failed');
  assert.ok(work!.reason!.includes('run.slurm-12.log'));
  assert.equal(work!.resume, `sbatch ${join(root, 'run.slurm.sh')}`);
  await refuses(() => requireNothingFailed(status), 'status/failed', run);
  // The directory alone is enough to find its jobs.
  assert.equal((await statusOf([run])).jobs.length, 1);
  finish(run);
  requireNothingFailed(await statusOf([root]));
});

test('jobs in the queue: their work is waiting, and each task of an array counts', async (t) => {
  const root = temporaryDirectory(t);
  for (const name of ['s-0', 's-1']) {
    const run = runIn(root, name, 20);
    begin(run);
    rmSync(join(run, LOCK_FILE));
  }
  jobsIn(root, 's-array', { '7_0': '', '7_1': 'killed' });
  const script = join(root, 's-array.slurm.sh');
  withSlurm(t, {
    squeue: `echo '9_0|PENDING|${script}'; echo '8|RUNNING|/another/script.sh'`,
    sacct: `echo '7_0|FAILED|1:0'; echo '7_1|OUT_OF_MEMORY|0:125'`,
  });
  const { jobs, work } = await statusOf([root]);
  assert.deepEqual(
    jobs.map(({ id, state, failed }) => [id, state, failed]),
    [
      ['7_1', 'OUT_OF_MEMORY', true],
      ['9_0', 'PENDING', false],
    ],
  );
  assert.deepEqual(
    work.map(({ state }) => state),
    ['waiting', 'failed'],
  );
});

test('of a harvest by an array, each part has the state of its task', async (t) => {
  const root = temporaryDirectory(t);
  const parts = [0, 1, 2, 3].map((i) => storeIn(root, `acts/hook/part-${i}-of-4`, 2, { complete: i === 1 }));
  jobsIn(root, 'acts', { '7_0': '', '7_1': '', '7_2': '', '7_3': '' });
  const tasks = ['7_0|FAILED|1:0', '7_1|NODE_FAIL|0:0', '7_2|RUNNING|0:0', '7_3|CANCELLED|0:15'];
  withSlurm(t, { squeue: '', sacct: tasks.map((line) => `echo '${line}'`).join('; ') });
  const status = await statusOf([root]);
  assert.deepEqual(
    status.work.map(({ state }) => state),
    ['failed', 'finished', 'waiting', 'stopped'],
  );
  assert.ok(status.work[0]!.reason!.includes('7_0'));
  const failed = ({ jobs }: typeof status) => jobs.filter((job) => job.failed).map(({ id }) => id);
  assert.deepEqual(failed(status), ['7_0']);
  // The script is next to --out, above the given directory; jobs of other parts do not count there.
  assert.deepEqual(failed(await statusOf([join(root, 'acts')])), ['7_0']);
  const [, , , last] = parts;
  assert.deepEqual(
    (await statusOf([last!])).jobs.map(({ id }) => id),
    ['7_3'],
  );
});

test('a task’s number in the directories of --out is recognised', async (t) => {
  const root = temporaryDirectory(t);
  for (const name of ['1/sae', '2/sae', 'array']) mkdirSync(join(root, name), { recursive: true });
  finish(runIn(join(root, '1'), 'sae', 200));
  begin(runIn(join(root, '2'), 'sae', 20));
  rmSync(join(root, '2', 'sae', LOCK_FILE));
  const code = 'sae-pipe: exit code 1\n';
  jobsIn(join(root, 'array'), 'sae', { '7_1': code, '7_2': code });
  withSlurm(t, {});
  const { work, jobs } = await statusOf([root]);
  assert.deepEqual(
    work.map(({ state }) => state),
    ['finished', 'failed'],
  );
  assert.deepEqual(
    jobs.map(({ failed }) => failed),
    [false, true],
  );
});

test('a script with --overwrite is not given as the command that continues', async (t) => {
  const root = temporaryDirectory(t);
  const run = runIn(root, 'run', 20);
  begin(run);
  rmSync(join(run, LOCK_FILE));
  jobsIn(root, 'run', { 12: 'sae-pipe: exit code 1\n' });
  withSlurm(t, {});
  const config = { notice: 120, requeue: true, maxRequeues: 1 } as never;
  for (const overwrite of [false, true]) {
    const { text } = scriptOf({ stage: 'train', words: [], out: 'run', overwrite }, config, root);
    writeFileSync(join(root, 'run.slurm.sh'), text);
    const { resume } = (await statusOf([root])).work[0]!;
    assert.equal(resume?.split(' ')[0], overwrite ? 'sae-pipe' : 'sbatch');
  }
});

test('jobs of a chain belong to what its stages write', async (t) => {
  const root = temporaryDirectory(t);
  sweepIn(root);
  jobsIn(root, 'sweep.train', { 7: 'sae-pipe: exit code 1\n' });
  withSlurm(t, {});
  const sweep = (await statusOf([root])).work.find(({ kind }) => kind === 'sweep')!;
  assert.deepEqual([sweep.state, sweep.resume?.split(' ')[1]], ['failed', 'sweep']);
});

test('evaluations and folders of features are listed; nothing is changed, and a missing directory is refused', async (t) => {
  withSlurm(t, {});
  const root = temporaryDirectory(t);
  const put = (name: string, file: string) => {
    mkdirSync(join(root, name), { recursive: true });
    writeFileSync(join(root, name, file), '');
  };
  put('eval', 'eval.json');
  put('features', 'features.json');
  put('half', 'state-0000000512.safetensors');
  lock(join(root, 'evaluating'), { command: 'sae-pipe eval' });
  lock(join(root, 'exporting'), { command: 'sae-pipe export' });
  const before = readdirSync(root, { recursive: true });
  assert.deepEqual(await statesIn(root), {
    ...{ eval: 'finished', evaluating: 'running', features: 'finished', half: 'stopped' },
  });
  assert.equal((await only(join(root, 'half'))).done, 512);
  assert.deepEqual(readdirSync(root, { recursive: true }), before);
  await refuses(() => statusOf([join(root, 'none')]), 'status/no-directory', 'none');
  assert.ok(statusTable(await statusOf([temporaryDirectory(t)])).includes('Nothing'));
});

test('a search that does not reach everything says so', async (t: TestContext) => {
  withSlurm(t, {});
  const root = temporaryDirectory(t);
  for (let i = 0; i < 3; i++) mkdirSync(join(root, String(i)));
  const { search } = await import('../../src/status/search.js');
  assert.equal(await search(root, () => 'below', 3), false);
  assert.equal(await search(root, () => 'below', 4), true);
});
