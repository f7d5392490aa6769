import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { modelConfig, orDirectory } from '../../src/hub/model-source.js';
import { passing } from '../../src/hub/request.js';
import { refusalOf, refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { MODEL } from './fake-hub.js';
import { tinyHub } from './tiny-hub.js';

const never = { signal: undefined };

test('only config.json of a hub model is requested, and nothing is kept', async (t) => {
  const { hub, settings, cache } = await tinyHub(t);
  const { json, path } = await modelConfig({ model: MODEL, offline: false }, never, settings);
  assert.equal((json as { num_hidden_layers: number }).num_hidden_layers, 4);
  assert.ok(path.includes(MODEL));
  assert.ok(!existsSync(cache));
  assert.ok(
    hub.seen.every(({ url }) => !/safetensors|tokenizer/.test(url)),
    JSON.stringify(hub.seen),
  );
});

test('what is cached is not requested again, and serves offline', async (t) => {
  const { hub, settings, fetch } = await tinyHub(t);
  await refuses(
    () => modelConfig({ model: MODEL, offline: true }, never, { ...settings, offline: true }),
    'hub/not-cached',
    'config.json',
    'cache',
  );
  await fetch();
  const asked = hub.seen.length;
  await modelConfig({ model: MODEL, offline: true }, never, { ...settings, offline: true });
  assert.equal(hub.seen.length, asked);
});

test('a missing path of two parts is first refused as a directory, with a near one suggested', async () => {
  const root = temporaryDirectory();
  mkdirSync(join(root, 'tiny-gemma'));
  const refused = new Refusal('The hub could not be reached.', 'Check the network.', 'hub/unreachable');
  const { message, remedy } = (await orDirectory(join(root, 'tiny-gema'), refused)) as Refusal;
  assert.match(message, /^The directory .*tiny-gema does not exist, and .*could not be reached/);
  assert.ok(remedy!.startsWith(`Did you mean ${join(root, 'tiny-gemma')}?`), remedy);
  // Where not even its first part is here, a model of the hub was meant.
  assert.equal(await orDirectory('google/gemma-2-2b', refused), refused);
  // Without an answer of the hub it may have been either.
  const unanswered = (await orDirectory(
    'assets/tiny',
    passing(new Refusal('No answer.', undefined, 'hub/unreachable')),
  )) as Refusal;
  assert.match(unanswered.message, /^The directory assets\/tiny does not exist, and .*No answer\./);
});

test('a file is not a model directory, and a path that is not an id gets a near one suggested', async () => {
  const never = { signal: undefined };
  const file = await refusalOf(
    () => modelConfig({ model: 'assets/tiny-gemma/config.json', offline: true }, never),
    Refusal,
    'hub/model-is-a-file',
  );
  assert.match(file.message, /is a file/);
  assert.ok(file.remedy!.includes(dirname('assets/tiny-gemma/config.json')));
  await refuses(
    () => modelConfig({ model: './assets/tiny-gema', offline: true }, never),
    'hub/no-model-directory',
    'The model directory ./assets/tiny-gema does not exist',
    'Did you mean assets/tiny-gemma?',
  );
});
