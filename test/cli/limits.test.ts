import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { homeDirectory } from '../../src/disk/space.js';
import { checkAddressSpace } from '../../src/train/engines/sparse/engine.js';
import { refuses } from '../config/refuses.js';
import { HOOK, harvestWords, made, trainWords } from '../faults/commands.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused, refusedUsage } from './refused.js';
import type { Outcome } from './run-program.js';

const LINUX = process.platform === 'linux';
const root = temporaryDirectory();
const { store } = await made();

/** Runs a command after some lines of the shell. */
async function after(lines: string, args: readonly string[]): Promise<Outcome> {
  const shell = spawn('bash', ['-c', `${lines}\nexec "$@"`, 'bash', process.execPath, 'bin/sae-pipe.js', ...args]);
  let [stdout, stderr] = ['', ''];
  shell.stdout.on('data', (data) => {
    stdout += data;
  });
  shell.stderr.on('data', (data) => {
    stderr += data;
  });
  const [code, signal] = await once(shell, 'close');
  return { code, signal, stdout, stderr };
}

test('a limit on open files that is too low is reported before anything is loaded', { skip: !LINUX }, async () => {
  // Before there is a log: one line of plain text.
  const { code, stderr } = await after('ulimit -n 64', ['--version']);
  assert.equal(code, 1, stderr);
  assert.match(stderr, /^sae-pipe: .*too few files.*ulimit -n.*\n$/);
});

test('running out of open files while threads start is reported as such', { skip: !LINUX }, async () => {
  const out = join(root, 'threads');
  // Each of many threads opens its modules together.
  refused(
    await after('ulimit -n 170', logged(trainWords(store, out, { 'd-sae': 4000, threads: 48 }))),
    'disk/too-many-open-files',
    'ulimit -n',
  );
  assert.ok(!readdirSync(root).includes('threads'), 'nothing is left');
});

test('with a limited address space, commands that need little work, and training says what it needs', {
  skip: !LINUX,
}, async () => {
  const limit = 'ulimit -v 8388608';
  const harvested = await after(limit, harvestWords(join(root, 'limited'), 500));
  assert.equal(harvested.code, 0, harvested.stderr);
  const inspected = await after(limit, ['inspect', join(root, 'limited', HOOK)]);
  assert.equal(inspected.code, 0, inspected.stderr);
  const out = join(root, 'sae');
  const limited = await after(limit, logged(trainWords(store, out)));
  refused(limited, 'train/address-space', '8.0 GiB', 'ulimit -v', '--engine reference');
  for (const [engine, prefix] of [
    ['reference', limit],
    ['sparse', `${limit}; export NODE_OPTIONS=--disable-wasm-trap-handler`],
  ] as const) {
    const outcome = await after(prefix, trainWords(store, join(root, engine), { engine, steps: 5 }));
    assert.equal(outcome.code, 0, outcome.stderr);
  }
});

test('the advised number of threads follows from what each reserves', async () => {
  const GiB = 2 ** 30;
  checkAddressSpace(4, Number.POSITIVE_INFINITY, []);
  checkAddressSpace(4, 44 * GiB, []);
  checkAddressSpace(4, GiB, ['--disable-wasm-trap-handler']);
  await refuses(() => checkAddressSpace(4, 43 * GiB, []), 'train/address-space', '43.0 GiB', '44.0 GiB', '--threads 3');
  await refuses(() => checkAddressSpace(4, 8 * GiB, []), 'train/address-space', '--engine reference');
});

const NOBODY = 54_321;
const canBeNobody = () => LINUX && process.getuid?.() === 0 && spawnSync('setpriv', ['--version']).status === 0;

test('a user without HOME and without an entry in the password file', { skip: !canBeNobody() }, async (t) => {
  const home = process.env.HOME;
  t.after(() => {
    if (home !== undefined) process.env.HOME = home;
  });
  assert.equal(homeDirectory(), homedir());
  const place = temporaryDirectory(t);
  spawnSync('chown', ['-R', String(NOBODY), place, root]);
  const as = `unset HOME; set -- setpriv --reuid ${NOBODY} --clear-groups "$@"`;
  // What this user may not even read is another matter.
  if ((await after(as, ['--version'])).code !== 0) return t.skip('the package is not readable to others');
  const harvested = await after(as, harvestWords(join(place, 'acts'), 500));
  assert.equal(harvested.code, 0, harvested.stderr);
  const trained = await after(as, trainWords(join(place, 'acts', HOOK), join(place, 'sae'), { steps: 5 }));
  assert.equal(trained.code, 0, trained.stderr);
  const missing = await after(as, logged(['doctor', '--model', 'google/gemma-2-2b', '--offline']));
  refusedUsage(missing, 'hub/no-home', 'HF_HOME');
});
