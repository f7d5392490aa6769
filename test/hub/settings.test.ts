import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { hubSettings } from '../../src/hub/request.js';
import { refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

test('defaults are those of Hugging Face’s own tools', async () => {
  const { endpoint, cache, offline } = await hubSettings({ HF_TOKEN_PATH: '/nowhere' }, false);
  assert.equal(endpoint, 'https://huggingface.co');
  assert.equal(cache, join(homedir(), '.cache', 'huggingface', 'hub'));
  assert.equal(offline, false);
});

test('the cache is found by the variables in their order', async () => {
  const cacheOf = async (environment: Record<string, string>) => (await hubSettings(environment, false)).cache;
  assert.equal(await cacheOf({ XDG_CACHE_HOME: '/x' }), '/x/huggingface/hub');
  assert.equal(await cacheOf({ XDG_CACHE_HOME: '/x', HF_HOME: '/home' }), '/home/hub');
  assert.equal(await cacheOf({ HF_HOME: '/home', HUGGINGFACE_HUB_CACHE: '/old' }), '/old');
  assert.equal(await cacheOf({ HF_HOME: '/home', HUGGINGFACE_HUB_CACHE: '/old', HF_HUB_CACHE: '/new' }), '/new');
  assert.equal(await cacheOf({ HF_HUB_CACHE: '~/models' }), join(homedir(), 'models'));
  assert.equal(await cacheOf({ HF_HUB_CACHE: '', HF_HOME: '/home' }), '/home/hub');
});

test('the token is HF_TOKEN, or the saved one of a login', async (t) => {
  const home = temporaryDirectory(t);
  assert.equal((await hubSettings({ HF_HOME: home }, false)).token, undefined);
  writeFileSync(join(home, 'token'), ' saved\n');
  assert.equal((await hubSettings({ HF_HOME: home }, false)).token, 'saved');
  assert.equal((await hubSettings({ HF_HOME: home, HF_TOKEN: 'given\n' }, false)).token, 'given');
});

test('offline by flag or variable', async () => {
  assert.equal((await hubSettings({}, true)).offline, true);
  for (const [value, expected] of [
    ['1', true],
    ['TRUE', true],
    ['yes', true],
    ['0', false],
    ['', false],
  ] as const) {
    assert.equal((await hubSettings({ HF_HUB_OFFLINE: value }, false)).offline, expected, value);
  }
});

test('an endpoint loses its last slash, and must be a URL', async () => {
  assert.equal(
    (await hubSettings({ HF_ENDPOINT: 'http://127.0.0.1:1/hf//' }, false)).endpoint,
    'http://127.0.0.1:1/hf',
  );
  for (const endpoint of ['hf.example', 'file:///etc', 'ftp://x']) {
    await refusesUsage(
      () => hubSettings({ HF_ENDPOINT: endpoint }, false),
      'hub/wrong-endpoint',
      endpoint,
      'HF_ENDPOINT',
    );
  }
});
