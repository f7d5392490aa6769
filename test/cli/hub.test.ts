import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sha256 } from '../hub/fake-hub.js';
import { tinyHub } from '../hub/tiny-hub.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused } from './refused.js';
import { run, sleep, startIn } from './run-program.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const HOOK = 'blocks.1.hook_resid_post';
const WEIGHTS = 'model.safetensors';
const root = temporaryDirectory();
const corpus = 'assets/corpus/validation.jsonl.gz';

const harvest = (out: string, ...more: string[]) =>
  `harvest --model google/tiny --corpus ${corpus} --hook ${HOOK} --tokens 2000 --context 64 --out ${join(root, out)}`
    .split(' ')
    .concat(more);

test('harvest takes a hub id, and gives what the same files in a directory give', async (t) => {
  const { hub, cache } = await tinyHub(t);
  const environment = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, HF_TOKEN: '' };
  const { code, stderr } = await startIn(environment, ...harvest('by-id')).outcome;
  assert.equal(code, 0, stderr);
  assert.match(stderr, /fetching weights: 6\.69M bytes/);
  const local = await run(...harvest('by-directory').map((arg) => (arg === 'google/tiny' ? 'assets/tiny-gemma' : arg)));
  assert.equal(local.code, 0, local.stderr);
  const store = (out: string) => {
    const manifest = readFileSync(join(root, out, HOOK, 'manifest.json'), 'utf8');
    return { ...(JSON.parse(manifest) as { model: { name: string; fingerprint: string } }) };
  };
  const [byId, byDirectory] = [store('by-id'), store('by-directory')];
  assert.equal(byId.model.name, 'google/tiny');
  assert.deepEqual(
    { ...byId, model: byId.model.fingerprint },
    { ...byDirectory, model: byDirectory.model.fingerprint },
  );
  // And offline, from the cache.
  const offline = { ...environment, HF_HUB_OFFLINE: '1', HF_ENDPOINT: 'http://127.0.0.1:9' };
  assert.equal((await startIn(offline, ...harvest('offline')).outcome).code, 0);
  const none = join(root, 'none');
  const missing = await startIn({ ...offline, HF_HUB_CACHE: none }, ...logged(harvest('none'))).outcome;
  refused(missing, 'hub/not-cached', 'google/tiny', 'main', none, '--offline');
  assert.equal(missing.stderr.trim().split('\n').length, 1);
});

test("commands that read chats download a hub model's template", async (t) => {
  const { hub, cache } = await tinyHub(t);
  const environment = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache };
  const generate = ['generate', '--model', 'google/tiny', '--prompt', 'Hi', '--tokens', '1'];
  assert.equal((await startIn(environment, ...generate).outcome).code, 0);
  // The snapshot exists without it.
  hub.files.set('chat_template.jinja', Buffer.from("{{ messages[0]['content'] }}:"));
  const { code, stderr } = await startIn(environment, ...generate, '--chat').outcome;
  assert.equal(code, 0, stderr);
  const chats = join(root, 'chats.jsonl');
  writeFileSync(chats, `${JSON.stringify({ messages: [{ role: 'user', content: 'word '.repeat(200) }] })}\n`);
  const words = harvest('chats', '--chat-field', 'messages').map((arg) => (arg === corpus ? chats : arg));
  const harvested = await startIn(environment, ...words.map((arg) => (arg === '2000' ? '64' : arg))).outcome;
  assert.equal(harvested.code, 0, harvested.stderr);
});

test('mistakes that can be found without the model are refused before it is downloaded', async (t) => {
  const { hub, cache } = await tinyHub(t);
  const environment = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache };
  const evaluate = ['eval', '--sae', 'x', '--model', 'google/tiny', '--corpus', corpus, '--out'];
  for (const [words, code, named] of [
    [harvest('x').map((arg) => (arg === corpus ? 'nowhere.txt' : arg)), 'corpus/none', 'nowhere.txt'],
    [[...evaluate, 'assets'], 'disk/out-exists', 'assets'],
    [[...evaluate, join(root, 'evaluation')], 'sae/not-an-sae', 'x'],
  ] as const) {
    refused(await startIn(environment, ...logged(words)).outcome, code, named);
  }
  assert.equal(hub.seen.length, 0);
});

test('a download killed at any moment resumes where it was', async (t) => {
  const { hub, cache, home } = await tinyHub(t);
  const environment = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache };
  hub.faults = { pause: 20 };
  const blobs = join(home, 'blobs');
  const weights = sha256(hub.files.get(WEIGHTS)!);
  const partSize = () => {
    const names = safely(() => readdirSync(blobs)) ?? [];
    const sizes = names
      .filter((name) => name.startsWith(`${weights}.`))
      .map((name) => statSync(join(blobs, name)).size);
    return Math.max(0, ...sizes);
  };
  let had = 0;
  for (let i = 0; i < 2; i++) {
    const { child, outcome } = startIn(environment, ...harvest('killed'));
    while (partSize() < had + 2 ** 20 && child.exitCode === null) await sleep(5);
    child.kill('SIGKILL');
    assert.equal((await outcome).signal, 'SIGKILL');
    had = partSize();
    assert.ok(had >= 2 ** 20 && !readdirSync(blobs).includes(weights));
  }
  const { code, stderr } = await startIn(environment, ...harvest('killed')).outcome;
  assert.equal(code, 0, stderr);
  const ranges = hub.rangesOf(WEIGHTS);
  assert.equal(ranges[0], undefined);
  assert.equal(ranges.length, 3, 'each run asked once');
  assert.equal(ranges[2], `bytes=${had}-`);
  assert.deepEqual(readFileSync(join(blobs, weights)), hub.files.get(WEIGHTS));
});

test('two processes at once: one downloads, the other waits for it, both continue', async (t) => {
  const { hub, cache, home } = await tinyHub(t);
  hub.faults = { pause: 20 };
  const environment = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache };
  const outcomes = ['first', 'second'].map((out) => startIn(environment, ...harvest(out)).outcome);
  for (const { code, stderr } of await Promise.all(outcomes)) assert.equal(code, 0, stderr);
  const said = (await Promise.all(outcomes)).map(({ stderr }) => /Another process is downloading/.test(stderr));
  assert.ok(said.includes(true));
  assert.deepEqual(hub.rangesOf(WEIGHTS), [undefined], 'the weights were sent once');
  assert.ok(!readdirSync(join(home, 'blobs')).some((name) => name.endsWith('.incomplete')));
});

test('two processes at once where file times are ten minutes behind both end well', onDemand, async (t) => {
  const { hub, cache, home } = await tinyHub(t);
  hub.faults = { pause: 20 };
  const blobs = join(home, 'blobs');
  const skew = setInterval(() => {
    const behind = Date.now() / 1000 - 600;
    for (const name of safely(() => readdirSync(blobs)) ?? []) {
      if (name.endsWith('.incomplete')) safely(() => utimesSync(join(blobs, name), behind, behind));
    }
  }, 2);
  t.after(() => clearInterval(skew));
  const environment = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache };
  const outcomes = ['skewed-first', 'skewed-second'].map((out) => startIn(environment, ...harvest(out)).outcome);
  for (const { code, stderr } of await Promise.all(outcomes)) assert.equal(code, 0, stderr);
  assert.deepEqual(readFileSync(join(blobs, sha256(hub.files.get(WEIGHTS)!))), hub.files.get(WEIGHTS));
  assert.ok(!readdirSync(blobs).some((name) => name.endsWith('.incomplete')));
});

function safely<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
