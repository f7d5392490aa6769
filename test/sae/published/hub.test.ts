import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { HubSettings } from '../../../src/hub/request.js';
import { silent } from '../../../src/progress/progress.js';
import { saeDirectory } from '../../../src/sae/published/open.js';
import { refuses } from '../../config/refuses.js';
import { COMMIT, MODEL } from '../../hub/fake-hub.js';
import { tinyHub } from '../../hub/tiny-hub.js';
import { filesBelow, temporaryDirectory } from '../../temporary.js';
import { opened, useCache } from './opened.js';

const ROOT = 'test/golden/published';
const SCOPE = 'google/gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_4';
const SCOPE_2 = 'google/gemma-scope-2-270m-pt/resid_post/layer_1_width_16k_l0_small';
const LLAMA = 'fnlp/Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L3R-8x';

useCache();

type Test = { after: (end: () => void) => void };

/** A hub whose one repository holds all golden SAEs. */
async function scopeHub(t: Test) {
  const names = readdirSync(ROOT, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = names.map(({ parentPath, name }) => join(parentPath, name).slice(ROOT.length + 1));
  const { hub, cache, settings } = await tinyHub(
    t,
    new Map(paths.map((path) => [path, readFileSync(join(ROOT, path))])),
  );
  const open = (path: string, changed: Partial<HubSettings> = {}, revision = '') =>
    saeDirectory(`${MODEL}${revision}/${path}`, { offline: false, settings: { ...settings, ...changed } }, silent, {
      signal: undefined,
    });
  return { hub, cache, open, snapshot: join(cache, `models--${MODEL.replace('/', '--')}`, 'snapshots', COMMIT) };
}

/** The same bytes as those of the files here, but for what the path tells. */
async function checkSame(directory: string, place: string): Promise<void> {
  const here = await opened(join(ROOT, place));
  for (const name of ['cfg.json', 'sae_weights.safetensors']) {
    assert.deepEqual(readFileSync(join(directory, name)), readFileSync(join(here, name)), name);
  }
}

test('an SAE of the hub is read from its own files alone, and later from the cache without asking', async (t) => {
  const { hub, open, snapshot } = await scopeHub(t);
  await checkSame(await open(SCOPE), SCOPE);
  assert.deepEqual([...filesBelow(snapshot).keys()], [`${SCOPE}/params.npz`]);
  await checkSame(await open(SCOPE_2), SCOPE_2);
  await checkSame(await open(LLAMA), LLAMA);
  assert.deepEqual(
    [...filesBelow(snapshot).keys()],
    [
      `${LLAMA}/checkpoints/final.safetensors`,
      `${LLAMA}/hyperparams.json`,
      `${SCOPE_2}/config.json`,
      `${SCOPE_2}/params.safetensors`,
      `${SCOPE}/params.npz`,
    ],
  );
  const asked = hub.seen.length;
  hub.stop();
  await checkSame(await open(SCOPE_2, { offline: true }), SCOPE_2);
  await checkSame(await open(`${SCOPE}/params.npz`), SCOPE);
  assert.equal(hub.seen.length, asked);
});

test('files of the layouts that lie elsewhere, or are told by their names, are found on the hub', async (t) => {
  const { open, snapshot } = await scopeHub(t);
  for (const place of [
    'saelens/gated',
    'sparsify/layers.10',
    'dictionary_learning/AutoEncoderTopK',
    'Qwen/SAE-Res-Qwen3-1.7B-Base-W1K-L0_3/layer5.sae.pt',
    'circuit_tracer/layer_1.safetensors',
  ]) {
    await checkSame(await open(place), place);
  }
  assert.ok(existsSync(join(snapshot, 'sparsify/config.json')));
});

test('a revision may be a branch, a commit or a reference with slashes; one that does not exist is refused', async (t) => {
  const { open } = await scopeHub(t);
  for (const revision of ['@v1', `@${COMMIT}`, '@refs%2Fpr%2F1'])
    await checkSame(await open(SCOPE, {}, revision), SCOPE);
  await refuses(() => open(SCOPE, {}, '@v2'), 'hub/no-revision', 'v2');
});

test('a gated repository needs a token', async (t) => {
  const { hub, open } = await scopeHub(t);
  hub.faults = { gated: 'hf_right' };
  await refuses(() => open(SCOPE), 'hub/not-open', 'HF_TOKEN');
  await refuses(() => open(SCOPE, { token: 'hf_wrong' }), 'hub/gated', 'terms');
  await checkSame(await open(SCOPE, { token: 'hf_right' }), SCOPE);
});

test('an interrupted download is continued, and a file of another hash is not kept', async (t) => {
  const { hub, open, snapshot } = await scopeHub(t);
  hub.faults = { cuts: { times: 2, after: 100 } };
  await checkSame(await open(SCOPE), SCOPE);
  assert.deepEqual(hub.rangesOf(`${SCOPE}/params.npz`), [undefined, 'bytes=100-', 'bytes=200-']);
  hub.faults = { corrupt: `${SCOPE_2}/params.safetensors` };
  await refuses(() => open(SCOPE_2), 'hub/wrong-hash', 'params.safetensors');
  assert.ok(!existsSync(join(snapshot, SCOPE_2, 'params.safetensors')));
  hub.faults = {};
  await checkSame(await open(SCOPE_2), SCOPE_2);
});

test('what does not exist, and what is not an SAE, is refused by name', async (t) => {
  const { open } = await scopeHub(t);
  await refuses(() => open('layer_9/width_16k'), 'sae/not-an-sae', 'layer_9/width_16k');
  await refuses(() => open('google/gemma-scope-2b-pt-res/layer_1'), 'sae/not-an-sae', 'layer_1');
  await refuses(() => open(SCOPE, { offline: true }), 'hub/not-cached', '--offline');
  await refuses(() => open('../../elsewhere'), 'sae/not-an-sae', 'elsewhere');
});

test('a repository that does not exist is refused', async (t) => {
  const { hub, settings } = await tinyHub(t, new Map());
  const other = { offline: false, settings: { ...settings, cache: join(temporaryDirectory(t), 'hub') } };
  const open = () => saeDirectory('nobody/nothing/layer_1', other, silent, { signal: undefined });
  await refuses(open, ['hub/not-open', 'hub/no-model'], 'nobody/nothing');
  assert.ok(hub.seen.length > 0);
});
