import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { refuses, refusesUsage } from '../config/refuses.js';
import { MODEL } from './fake-hub.js';
import { tinyHub } from './tiny-hub.js';

test('a gated model names its page, the terms and HF_TOKEN', async (t) => {
  const { hub, fetch } = await tinyHub(t);
  hub.faults = { gated: 'secret' };
  const page = `${hub.endpoint}/${MODEL}`;
  await refuses(() => fetch(), 'hub/not-open', `${MODEL} is not public (401)`, `terms at ${page}`, 'set HF_TOKEN');
  await refuses(
    () => fetch({}, { token: 'of-someone-else' }),
    'hub/gated',
    "terms have not been accepted by this token's account (403)",
    `Accept the terms at ${page}`,
    `${hub.endpoint}/settings/tokens`,
  );
});

test('a model that does not exist is named: 404 with a token, 401 without', async (t) => {
  const { fetch } = await tinyHub(t);
  const model = 'google/nothing';
  await refuses(
    () => fetch({ model }, { token: 'any' }),
    'hub/no-model',
    'no model google/nothing at revision "main" (404)',
    '--model',
  );
  await refuses(
    () => fetch({ model }),
    'hub/not-open',
    'no model google/nothing',
    'or it is private (401)',
    'HF_TOKEN',
  );
});

test('a revision that does not exist is named', async (t) => {
  const { fetch, home, hub } = await tinyHub(t);
  await refuses(
    () => fetch({ revision: 'v7' }),
    'hub/no-revision',
    `${MODEL} has no revision "v7" (404)`,
    `${hub.endpoint}/${MODEL}/tree`,
  );
  assert.ok(!existsSync(home));
});

test('no network: the cause, the place and the remedy', async (t) => {
  const { fetch, hub, cache } = await tinyHub(t);
  hub.stop();
  await refuses(() => fetch(), 'hub/unreachable', hub.endpoint, 'ECONNREFUSED', 'HF_ENDPOINT', cache);
  await refuses(() => fetch({}, { endpoint: 'http://no-such-host.invalid' }), 'hub/unreachable', 'no-such-host');
});

test('a server that is not a hub is detected', async (t) => {
  const { fetch, hub } = await tinyHub(t);
  await refuses(() => fetch({}, { endpoint: `${hub.endpoint}/elsewhere` }), 'hub/not-open', 'no model', 'private');
});

test('offline, nothing is requested, and what is missing is named', async (t) => {
  const { fetch, hub, cache } = await tinyHub(t);
  await refuses(
    () => fetch({}, { offline: true }),
    'hub/not-cached',
    `${MODEL} at revision "main" is not in the cache ${cache}`,
    '--offline',
  );
  assert.equal(hub.seen.length, 0);
});

test('a directory is itself; what is neither directory nor id is refused', async (t) => {
  const { fetch, hub } = await tinyHub(t);
  assert.equal(await fetch({ model: 'assets/tiny-gemma' }), 'assets/tiny-gemma');
  for (const model of [
    './no/where',
    '/no/where',
    'nowhere',
    'a/b/c',
    'google/',
    'google/a--b',
    '../no-such-place',
    'a/..',
  ]) {
    await refuses(
      () => fetch({ model }),
      'hub/no-model-directory',
      `The model directory ${model} does not exist`,
      'google/gemma-2-2b',
    );
  }
  assert.equal(hub.seen.length, 0);
});

test('an invalid revision is refused before it becomes a path', async (t) => {
  const { fetch, hub } = await tinyHub(t);
  for (const revision of ['../../x', '/etc', 'a//b', 'a b', '..', '.git', 'x/../y', 'a..b', '']) {
    await refusesUsage(() => fetch({ revision }), 'hub/wrong-revision', `--revision ${JSON.stringify(revision)}`);
  }
  await refusesUsage(() => fetch({ model: 'assets/tiny-gemma', revision: 'main' }), 'hub/revision-of-directory');
  assert.equal(hub.seen.length, 0);
});
