import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { silent } from '../../../src/progress/progress.js';
import { listingTable, listSaes } from '../../../src/sae/published/list.js';
import { run } from '../../cli/run-program.js';
import { refuses } from '../../config/refuses.js';
import { MODEL } from '../../hub/fake-hub.js';
import { tinyHub } from '../../hub/tiny-hub.js';

const ROOT = 'test/golden/published';
const SCOPE = 'google/gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_4';
const NEVER = { signal: undefined };

test('below a directory every SAE is listed with what its headers say', async () => {
  const saes = await listSaes(ROOT, { offline: true }, silent, NEVER);
  const found = new Map(saes.map((sae) => [sae.sae, sae]));
  // The goldens, but for what they expect; those of one file are files.
  assert.equal(saes.length, 31);
  assert.deepEqual(found.get(join(ROOT, SCOPE)), {
    sae: join(ROOT, SCOPE),
    layout: 'gemma-scope',
    architecture: 'jumprelu',
    d_in: 6,
    d_sae: 11,
    hook: 'blocks.1.hook_resid_post',
    l0: 4,
  });
  assert.equal(found.get(join(ROOT, 'circuit_tracer/layer_2.safetensors'))!.architecture, 'jumprelu transcoder');
  assert.equal(found.get(join(ROOT, 'saelens/topk'))!.layout, 'saelens');
  const table = listingTable(saes).split('\n');
  assert.equal(table.length, saes.length + 1);
});

test('on the hub only names are listed, and nothing is downloaded', async (t) => {
  const files = new Map(
    [`${SCOPE}/params.npz`, 'saelens/gated/cfg.json', 'saelens/gated/sae_weights.safetensors'].map((name) => [
      name,
      readFileSync(join(ROOT, name)),
    ]),
  );
  files.set('clt/W_enc_0.safetensors', Buffer.from('a cross-layer transcoder'));
  const { hub, settings } = await tinyHub(t, files);
  const listed = (where: string, offline = false) =>
    listSaes(where, { offline, settings: { ...settings, offline } }, silent, NEVER);
  const saes = await listed(`hf://${MODEL}`);
  assert.deepEqual(
    saes.map(({ sae, layout, l0 }) => [sae, layout, l0]),
    [
      [`${MODEL}/clt`, null, null],
      [`${MODEL}/${SCOPE}`, 'gemma-scope', 4],
      [`${MODEL}/saelens/gated`, 'saelens', null],
    ],
  );
  assert.deepEqual(
    (await listed(`${MODEL}@v1/saelens`)).map(({ sae }) => sae),
    [`${MODEL}@v1/saelens/gated`],
  );
  assert.ok(hub.seen.every(({ url }) => url.startsWith('/api/')));
  await refuses(() => listed(MODEL, true), 'hub/not-cached');
});

test('ls prints the SAEs of a release as --sae takes them', async () => {
  const { code, stdout } = await run('ls', 'gemma-scope-2b-pt-res-canonical', '--json');
  assert.equal(code, 0);
  const saes = JSON.parse(stdout) as { sae: string; l0: number | null }[];
  assert.ok(saes.some(({ sae }) => sae === 'gemma-scope-2b-pt-res-canonical:layer_20/width_16k/canonical'));
});
