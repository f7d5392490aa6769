import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ask } from '../http/request.js';
import { temporaryDirectory } from '../temporary.js';
import { begin, runIn } from '../watch/runs.js';
import { logged, refused, refusedUsage } from './refused.js';
import { run, sleep, start } from './run-program.js';

const root = temporaryDirectory();

/** Starts `watch` and waits for the address that it prints. */
async function watching(...args: string[]) {
  const { child, outcome } = start('watch', ...args, '--port', '0');
  let stdout = '';
  child.stdout!.on('data', (data) => {
    stdout += data;
  });
  for (const end = Date.now() + 20_000; !stdout.includes('\n') && child.exitCode === null && Date.now() < end; ) {
    await sleep(20);
  }
  return { child, outcome, url: stdout.trim() };
}

test('watch serves the page of a run until Ctrl-C, which exits 130 and closes open connections', async () => {
  const directory = runIn(root, 'one', 12);
  begin(directory);
  const { child, outcome, url } = await watching(directory);
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/$/);
  const { status, body } = await ask(url, '/', { headers: { Connection: 'keep-alive' } });
  assert.equal(status, 200);
  assert.match(body, /<title>one<\/title>/);
  assert.match(body, /title="one">/);
  assert.match(body, /12 of 200/);
  child.kill('SIGINT');
  const { code, stdout, stderr } = await outcome;
  assert.equal(code, 130, stderr);
  assert.equal(stdout, `${url}\n`);
  assert.match(stderr, /Stopped \(SIGINT\): the page is closed/);
  await assert.rejects(ask(url, '/'), { code: 'ECONNREFUSED' });
});

test('SIGTERM exits 143, and --log json says so on a line', async () => {
  const { child, outcome } = await watching(root, '--log', 'json');
  child.kill('SIGTERM');
  const { code, stderr } = await outcome;
  assert.equal(code, 143, stderr);
  const last = JSON.parse(stderr.trim().split('\n').at(-1)!);
  assert.deepEqual([last.event, last.signal, last.exit], ['interrupted', 'SIGTERM', 143]);
});

test('a directory may be empty but must be one, and the port must be free', async () => {
  const { child, outcome, url } = await watching(temporaryDirectory());
  assert.match((await ask(url, '/')).body, /No run yet/);
  const { port } = new URL(url);
  const taken = await run(...logged(['watch', root, '--port', port]));
  refused(taken, 'watch/port-in-use', port, '127.0.0.1', '--port');
  child.kill('SIGINT');
  await outcome;
  const file = join(root, 'file');
  writeFileSync(file, '');
  for (const [how, args, code, ...named] of [
    [refused, [join(root, 'none')], 'watch/no-directory', join(root, 'none'), '--out'],
    [refused, [file], 'watch/no-directory', file],
    [refusedUsage, [], 'config/missing-flag', '<directory>'],
    [refusedUsage, [root, '--port', '65536'], 'config/wrong-value', '--port', '65536'],
    [refusedUsage, [root, '--port', 'http'], 'config/wrong-value', '--port', 'http'],
    [refusedUsage, [root, root], 'cli/surplus-argument', root],
  ] as const) {
    const outcome = await run(...logged(['watch', ...args]));
    how(outcome, code, ...named);
    assert.equal(outcome.stderr.trim().split('\n').length, 1);
    assert.equal(outcome.stdout, '');
  }
});
