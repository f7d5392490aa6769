import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ExploreIndex } from '../../src/explore/api.js';
import { collected, MODEL } from '../explore/collected-folder.js';
import { writeSampleFolder } from '../explore/sample-folder.js';
import { ask } from '../http/request.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused, refusedUsage } from './refused.js';
import { run, sleep, start } from './run-program.js';

const root = temporaryDirectory();
const folder = join(root, 'features');
await writeSampleFolder(folder, { features: 40, top: 2, perBand: 1 });

/** Starts `explore` and waits for the address that it prints. */
async function exploring(...args: string[]) {
  const { child, outcome } = start('explore', ...args, '--port', '0');
  let stdout = '';
  child.stdout!.on('data', (data) => {
    stdout += data;
  });
  for (const end = Date.now() + 20_000; !stdout.includes('\n') && child.exitCode === null && Date.now() < end; ) {
    await sleep(20);
  }
  return { child, outcome, url: stdout.trim() };
}

const save = (url: string, label: string) =>
  ask(url, '/api/labels', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ sae: 'gated', feature: 3, label, note: null }),
  });
const live = async (url: string) => (JSON.parse((await ask(url, '/data/index.json')).body) as ExploreIndex).live;

test('one explore saves labels, a second one shows them; when killed, it leaves every label and a lock that can be taken over', async () => {
  const first = await exploring(folder);
  assert.match((await ask(first.url, '/')).body, /<!doctype html>/);
  assert.deepEqual(await live(first.url), { list: true, labels: true, text: false });
  assert.equal((await save(first.url, 'one')).status, 200);
  const second = await exploring(folder);
  assert.equal((await live(second.url)).labels, false);
  assert.equal((await save(second.url, 'two')).status, 409);
  assert.match((await ask(second.url, '/data/gated/features/3.json')).body, /"label":"one"/);
  second.child.kill('SIGINT');
  const { code, stderr } = await second.outcome;
  assert.equal(code, 130, stderr);
  assert.match(stderr, /[Ll]abels cannot be saved/);
  first.child.kill('SIGKILL');
  await first.outcome;
  const third = await exploring(folder);
  assert.equal((await live(third.url)).labels, true);
  assert.equal((await save(third.url, 'three')).status, 200);
  third.child.kill('SIGTERM');
  assert.equal((await third.outcome).code, 143);
  const lines = readFileSync(join(folder, 'gated', 'labels.jsonl'), 'utf8')
    .trim()
    .split('\n');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).label),
    ['one', 'three'],
  );
  assert.equal(existsSync(join(folder, 'sae-pipe.lock')), false);
});

test('what is not a folder of features, and a port in use, are refused', async () => {
  refused(await run(...logged(['explore', join(root, 'no')])), 'explore/no-directory', 'no');
  refused(await run(...logged(['explore', root])), 'explore/no-record', 'features.json');
  const { child, outcome, url } = await exploring(folder);
  const { port } = new URL(url);
  refused(await run(...logged(['explore', folder, '--port', port])), 'explore/port-in-use', port);
  child.kill('SIGINT');
  await outcome;
  refusedUsage(await run(...logged(['explore', folder, '--port', '70000'])), 'config/wrong-value', '--port');
});

test('explore with a model steers a text, and stops in the middle of it on request', async () => {
  const { folder: made } = await collected(temporaryDirectory());
  const { child, outcome, url } = await exploring(made, '--model', MODEL);
  const steered = request(new URL('/api/steer', url), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
  });
  steered.end(
    JSON.stringify({
      ...{ text: 'The old man', sae: 'sae-0', tokens: 500, temperature: 0, seed: 0 },
      changes: [{ feature: 5, operation: 'add', strength: 30 }],
    }),
  );
  const [answer] = await once(steered, 'response');
  let events = '';
  for await (const piece of answer.setEncoding('utf8')) {
    events += piece;
    if (events.includes('"kind":"text"')) break;
  }
  child.kill('SIGINT');
  const { code, stderr } = await outcome;
  assert.equal(code, 130, stderr);
});

test('features export and features labels are commands, too', async () => {
  const out = join(root, 'exported');
  const { code, stderr } = await run('features', 'export', folder, '--as', 'sae-dashboard', '--out', out);
  assert.equal(code, 0, stderr);
  assert.ok(existsSync(join(out, 'batch-0.json')));
  const printed = await run('features', 'labels', folder);
  assert.equal(printed.code, 0, printed.stderr);
  assert.equal(JSON.parse(printed.stdout.trim().split('\n')[0]!).sae, 'gated');
});
