import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { JsonLines } from '../../src/disk/growing-file.js';
import { checkUnlocked, Displaced, LOCK_FILE, lockDirectory, type TakeOver } from '../../src/disk/lock.js';
import { type Owner, ownerState, thisProcess } from '../../src/disk/lock-owner.js';
import { writeAside } from '../../src/disk/output-file.js';
import { writeEvaluation } from '../../src/eval/record.js';
import { saveSae } from '../../src/sae/saelens.js';
import { refusalOf, refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { deadOwner } from './dead-owner.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const LINUX = process.platform === 'linux';
/** --take-over, and who receives its message. */
const takingOver = (say: (sentence: string) => void): TakeOver => ({ unchecked: true, say });
const directory = (t: TestContext) => {
  const path = join(temporaryDirectory(t), 'out');
  mkdirSync(path);
  return path;
};
const lockIn = (path: string) => JSON.parse(readFileSync(join(path, LOCK_FILE), 'utf8')) as Owner;
const leave = (path: string, lock: unknown, name = LOCK_FILE) =>
  writeFileSync(join(path, name), typeof lock === 'string' ? lock : JSON.stringify(lock));

test('a lock says who holds it, refuses every other, and is gone after its release', async (t) => {
  const path = directory(t);
  const lock = await lockDirectory(path);
  assert.equal(lock.tookOver, false);
  assert.deepEqual(readdirSync(path), [LOCK_FILE]);
  const { pid, host, since } = lockIn(path);
  assert.deepEqual([pid, host], [process.pid, hostname()]);
  await refuses(
    () => lockDirectory(path),
    'disk/in-use',
    path,
    `pid ${pid} of`,
    `on ${host}`,
    since,
    // What runs here: this file, or one that imports it among others.
    basename(process.argv[1]!, '.js'),
    'another --out',
  );
  assert.deepEqual(readdirSync(path), [LOCK_FILE]);
  await lock.release();
  assert.deepEqual(readdirSync(path), []);
  await (await lockDirectory(path)).release();
});

test('directories made for the lock go with it where they are empty, and others stay', async (t) => {
  const root = directory(t);
  const path = join(root, 'a', 'b');
  await (await lockDirectory(path)).release();
  assert.deepEqual(readdirSync(root), []);
  const lock = await lockDirectory(path);
  writeFileSync(join(root, 'a', 'other'), '');
  await lock.release();
  assert.deepEqual(readdirSync(join(root, 'a')), ['other']);
  mkdirSync(path);
  await (await lockDirectory(path)).release();
  assert.ok(existsSync(path));
});

test('the lock of a process that is gone is taken over, that of one that runs is not', async (t) => {
  const path = directory(t);
  leave(path, await deadOwner());
  const lock = await lockDirectory(path);
  assert.ok(lock.tookOver);
  assert.equal(lockIn(path).pid, process.pid);
  assert.deepEqual(readdirSync(path), [LOCK_FILE]);
  await lock.release();
  // An hour ago or next year: clocks do not tell whether a process lives.
  for (const since of ['1990-01-01T00:00:00.000Z', '2190-01-01T00:00:00.000Z']) {
    leave(path, { ...thisProcess(), since });
    await refuses(() => lockDirectory(path), 'disk/in-use', since);
    leave(path, { ...(await deadOwner()), since });
    await (await lockDirectory(path)).release();
  }
});

test('a process that has the number of a dead one is not its owner', { skip: !LINUX }, async (t) => {
  const path = directory(t);
  const own = thisProcess();
  leave(path, { ...own, started: String(Number(own.started) - 1) });
  const lock = await lockDirectory(path);
  assert.ok(lock.tookOver);
  await lock.release();
  // Where its start is not known, a process with the number counts as the owner.
  leave(path, { ...own, started: '' });
  await refuses(() => lockDirectory(path), 'disk/in-use');
});

test('a killed process counts as gone before its parent has heard of it', { skip: !LINUX }, async (t) => {
  const path = directory(t);
  // The shell starts a child, tells its id, and never waits for it.
  const shell = spawn('bash', ['-c', 'sleep 60 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => shell.kill('SIGKILL'));
  const pid = Number(String((await once(shell.stdout, 'data'))[0]));
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]!;
  leave(path, { ...thisProcess(), pid, started });
  await refuses(() => lockDirectory(path), 'disk/in-use', `pid ${pid} of`);
  process.kill(pid, 'SIGKILL');
  for (let state = ''; state !== 'Z'; ) state = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]![0]!;
  await (await lockDirectory(path)).release();
});

test('a lock of another machine or container is refused, and taken over on request, naming its owner', async (t) => {
  const path = directory(t);
  const dead = await deadOwner();
  for (const other of [
    { host: 'node17' },
    { machine: 'another installation' },
    { namespace: 'pid:[1]' },
    { boot: 'another', namespace: 'pid:[1]' },
    { boot: 'another', machine: '' },
  ]) {
    leave(path, { ...dead, ...other });
    const before = readFileSync(join(path, LOCK_FILE));
    await refuses(() => lockDirectory(path), 'disk/in-use-elsewhere', `pid ${dead.pid} of`, '--take-over');
    assert.deepEqual(readFileSync(join(path, LOCK_FILE)), before);
    assert.equal(await checkUnlocked(path, takingOver(assert.fail)), true);
    const told: string[] = [];
    const lock = await lockDirectory(
      path,
      takingOver((sentence) => {
        told.push(sentence);
        assert.deepEqual(readFileSync(join(path, LOCK_FILE)), before, 'named first');
      }),
    );
    assert.equal(told.length, 1);
    for (const part of [path, `pid ${dead.pid} of ${dead.user}`, dead.command, dead.since]) {
      assert.ok(told[0]!.includes(part), `${told[0]} lacks ${part}`);
    }
    assert.ok(lock.tookOver);
    assert.equal(lockIn(path).pid, process.pid);
    await lock.release();
    assert.deepEqual(readdirSync(path), []);
  }
});

test('an owner that runs on this machine is never taken over from', async (t) => {
  const path = directory(t);
  leave(path, thisProcess());
  await refuses(() => lockDirectory(path, takingOver(assert.fail)), 'disk/in-use');
  await refuses(() => checkUnlocked(path, takingOver(assert.fail)), 'disk/in-use');
});

test('an owner whose lock was taken over writes nothing more', async (t) => {
  const path = directory(t);
  const lock = await lockDirectory(path);
  await writeAside(join(path, 'cfg.json'), 'of the first');
  const curve = await JsonLines.open(join(path, 'metrics.jsonl'), { keep: () => true });
  // What another machine does with --take-over.
  leave(path, { ...thisProcess(), host: 'node17', pid: 4711 });
  const again = await refusalOf(
    () => writeAside(join(path, 'cfg.json'), 'again of the first'),
    Displaced,
    'disk/taken-over',
  );
  assert.match(again.message, /taken over by .*4711.*node17/);
  await refusalOf(() => curve.append({ step: 1 }), Displaced, 'disk/taken-over');
  // Nor does it clean up files that now belong to another.
  const zeros = { W_enc: [0], W_dec: [0], b_dec: [0], b_enc: [0] };
  const parameters = Object.fromEntries(Object.entries(zeros).map(([name, x]) => [name, Float32Array.from(x)]));
  writeFileSync(join(path, 'sae_weights.safetensors'), 'of the second');
  await refusalOf(
    () => saveSae(path, { architecture: 'standard', dIn: 1, dOut: 1, dSae: 1, parameters }, {}),
    Displaced,
    'disk/taken-over',
  );
  writeFileSync(join(path, 'eval.json'), 'of the second');
  await refusalOf(() => writeEvaluation(path, [], () => {}), Displaced, 'disk/taken-over');
  await curve.close();
  await lock.release();
  const left = ['cfg.json', 'eval.json', 'metrics.jsonl', 'sae_weights.safetensors', LOCK_FILE];
  assert.deepEqual(readdirSync(path).sort(), left.sort());
  assert.equal(readFileSync(join(path, 'cfg.json'), 'utf8'), 'of the first');
  // A process without a lock there may write.
  await writeAside(join(path, 'cfg.json'), 'of the second');
});

test('what is not a lock is not read, nor taken for one: pipes, devices, links, large files', async (t) => {
  const path = directory(t);
  const file = join(path, LOCK_FILE);
  const kinds: [name: string, make: () => void][] = [
    ['pipe', () => execFileSync('mkfifo', [file])],
    ['link to a device', () => symlinkSync('/dev/zero', file)],
    ['link to nothing', () => symlinkSync('nothing', file)],
    ['directory', () => mkdirSync(file)],
    [
      'gigabyte',
      () => {
        writeFileSync(file, '');
        truncateSync(file, 2 ** 30);
      },
    ],
  ];
  for (const [, make] of kinds) {
    make();
    await refuses(() => lockDirectory(path), 'disk/not-a-lock', file, 'not a lock of sae-pipe', 'Delete it');
    await refuses(() => checkUnlocked(path, takingOver(assert.fail)), 'disk/not-a-lock', file);
    rmSync(file, { recursive: true });
  }
  await (await lockDirectory(path)).release();
});

test('after a restart of the machine nobody is left, outside of containers', { skip: !LINUX }, () => {
  const own = { ...thisProcess(), boot: 'before the restart' };
  const outside = own.namespace === 'pid:[4026531836]' && own.machine !== '';
  assert.equal(ownerState(own), outside ? 'gone' : 'unknown');
});

test('a lock that was torn or is garbage is taken over, after a moment in which it may be being written', async (t) => {
  const path = directory(t);
  for (const torn of ['', JSON.stringify(thisProcess()).slice(0, 60), '{}', '\0\0\0\0', '"lock"']) {
    leave(path, torn);
    const lock = await lockDirectory(path);
    assert.ok(lock.tookOver, JSON.stringify(torn));
    assert.deepEqual(readdirSync(path), [LOCK_FILE]);
    await lock.release();
  }
  leave(path, '{');
  const waiting = lockDirectory(path);
  setTimeout(() => leave(path, thisProcess()), 300);
  await refuses(() => waiting, 'disk/in-use');
});

test('leftovers of processes killed while taking the lock are understood, and removed', async (t) => {
  const path = directory(t);
  const [first, second, third] = [await deadOwner(), await deadOwner(), { ...thisProcess() }];
  leave(path, first);
  leave(path, second, `${LOCK_FILE}.after-${first.id}`);
  leave(path, await deadOwner(), `${LOCK_FILE}.${'0'.repeat(32)}.tmp`);
  leave(path, await deadOwner(), `${LOCK_FILE}.after-${'0'.repeat(32)}`);
  // The last of the chain is the owner.
  leave(path, third, `${LOCK_FILE}.after-${second.id}`);
  await refuses(() => lockDirectory(path), 'disk/in-use');
  leave(path, { ...third, pid: (await deadOwner()).pid }, `${LOCK_FILE}.after-${second.id}`);
  const lock = await lockDirectory(path);
  assert.deepEqual(readdirSync(path), [LOCK_FILE]);
  assert.equal(lockIn(path).pid, process.pid);
  await lock.release();
  assert.deepEqual(readdirSync(path), []);
});

test('a lock that was deleted by hand and taken by another is not released by the first', async (t) => {
  const path = directory(t);
  const lock = await lockDirectory(path);
  const another = { ...thisProcess() };
  leave(path, another);
  await lock.release();
  assert.equal(lockIn(path).id, another.id);
});

/** Many processes that try to take the same directories at the same moments; what each has taken. */
async function race(root: string, processes: number, count: number): Promise<number[][]> {
  const script = fileURLToPath(new URL('lock-contender.js', import.meta.url));
  const start = Date.now() + 1500;
  const args = [script, root, String(count), String(start), '40'];
  const children = Array.from({ length: processes }, () =>
    spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] }),
  );
  const won = await Promise.all(
    children.map(async (child) => JSON.parse(String((await once(child.stdout, 'data'))[0])) as number[]),
  );
  for (const child of children) child.stdin.end();
  const ends = await Promise.all(children.map((child) => once(child, 'exit')));
  for (const [, signal] of ends) assert.equal(signal, 'SIGKILL');
  return won;
}

test(
  'of many processes that want a directory at the same moment exactly one gets it, also from a dead owner',
  onDemand,
  async (t) => {
    const root = directory(t);
    const count = 5;
    const every = Array.from({ length: count }, (_, i) => i);
    // The second time every owner of the first has been killed, the third time so have those.
    for (const round of ['free', 'left behind', 'left behind again']) {
      const won = await race(root, 6, count);
      assert.deepEqual(
        won.flat().sort((a, b) => a - b),
        every,
        `${round}: ${JSON.stringify(won)}`,
      );
      for (const i of every) assert.deepEqual(readdirSync(join(root, String(i))), [LOCK_FILE]);
    }
    for (const i of every) leave(join(root, String(i)), 'torn');
    const won = await race(root, 4, 5);
    assert.deepEqual(
      won.flat().sort((a, b) => a - b),
      every.slice(0, 5),
      'torn',
    );
  },
);

test('a lock with long flags in any script can be read', async (t) => {
  const path = directory(t);
  const before = process.argv;
  t.after(() => {
    process.argv = before;
  });
  for (const [words, named] of [
    [['--out', '\u6d3b'.repeat(2000)], true],
    [['--out', '\u6d3b'.repeat(30_000)], false],
  ] as const) {
    process.argv = ['node', '/bin/sae-pipe.js', 'harvest', ...words];
    const lock = await lockDirectory(path);
    await refuses(() => lockDirectory(path), 'disk/in-use', 'sae-pipe harvest');
    assert.deepEqual(lockIn(path).given?.words, named ? [...words] : undefined);
    await lock.release();
  }
});
