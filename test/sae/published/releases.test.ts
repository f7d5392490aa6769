import assert from 'node:assert/strict';
import { test } from 'node:test';
import { saeReference } from '../../../src/sae/published/reference.js';
import { releaseNamed, saesOfRelease } from '../../../src/sae/published/releases.js';
import { refuses } from '../../config/refuses.js';

test('release:id is the repository and path of the list', async () => {
  assert.deepEqual(await saeReference('gemma-scope-2b-pt-res-canonical:layer_20/width_16k/canonical'), {
    kind: 'hub',
    repository: 'google/gemma-scope-2b-pt-res',
    revision: 'main',
    path: 'layer_20/width_16k/average_l0_71',
  });
  assert.deepEqual(await saeReference('gemma-scope-2-1b-pt-res:layer_13_width_65k_l0_medium'), {
    kind: 'hub',
    repository: 'google/gemma-scope-2-1b-pt',
    revision: 'main',
    path: 'resid_post/layer_13_width_65k_l0_medium',
  });
  // A factor on the activations, which no file of the SAE has.
  const scaled = await releaseNamed('llama_scope_lxr_8x', 'l15r_8x');
  assert.ok(scaled.scale! > 0);
  const saes = await saesOfRelease('gemma-scope-2b-pt-res');
  assert.equal(saes.length, 316);
  assert.ok(saes.every(({ l0, path }) => l0 === undefined || path.endsWith(`average_l0_${l0}`)));
});

test('what the list does not have, and what has no exact form here, is refused', async () => {
  await refuses(
    () => saeReference('gemma-scope-2b-pt-re:layer_20/width_16k/canonical'),
    'sae/no-release',
    'gemma-scope-2b-pt-res',
  );
  await refuses(
    () => releaseNamed('gemma-scope-2b-pt-res-canonical', 'layer_99/width_16k/canonical'),
    'sae/no-release',
  );
  await refuses(
    () => releaseNamed('gpt2-small-res-jb', 'blocks.8.hook_resid_pre'),
    'sae/unsupported-layout',
    'center_writing_weights',
  );
  await refuses(() => saeReference('./nothing/here'), 'sae/not-an-sae', 'nothing/here');
  await refuses(() => saeReference('src/nothing/here'), 'sae/not-an-sae', 'src/nothing');
  await refuses(() => saeReference('nothing'), 'sae/not-an-sae');
});
