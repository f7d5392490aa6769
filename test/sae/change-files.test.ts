import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readFeatureList } from '../../src/sae/change-files.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const path = join(temporaryDirectory(), 'features');
const ONE = [{ path: 'runs/gated', dSae: 48 }];
const TWO = [...ONE, { path: 'runs/mlp', dSae: 24 }];

async function listed(text: string, operation: 'ablate' | 'set', saes = ONE): Promise<number[][]> {
  writeFileSync(path, text);
  const changes = await readFeatureList(path, operation, saes);
  assert.ok(changes.every((change) => change.operation === operation));
  return changes.map(({ sae, feature, strength }) => [sae, feature, strength]);
}

test('features are listed one per line, or in JSON', async () => {
  const two = [
    [0, 17, 0],
    [0, 3, 0],
  ];
  for (const text of [
    '17\n3\n',
    '# mine\r\n17\r\n\r\n3',
    '[17, 3]',
    '["17", 3]',
    '[{"feature":17,"ablate":true},{"feature":3,"ablate":true}]',
  ]) {
    assert.deepEqual(await listed(text, 'ablate'), two, text);
  }
  assert.deepEqual(await listed('gated:17\nmlp:3', 'ablate', TWO), [
    [0, 17, 0],
    [1, 3, 0],
  ]);
});

test('features to set have values', async () => {
  for (const text of ['17 8\n3\t-1.5\n', '17, 8\n3,-1.5', '[{"feature":17,"set":8},{"feature":3,"set":-1.5}]']) {
    assert.deepEqual(
      await listed(text, 'set'),
      [
        [0, 17, 8],
        [0, 3, -1.5],
      ],
      text,
    );
  }
  assert.deepEqual(await listed('runs/mlp:3 2', 'set', TWO), [[1, 3, 2]]);
});

test('what lists no features is refused', async () => {
  for (const text of ['', '\n# nothing\n']) await refuses(() => listed(text, 'ablate'), 'generate/no-change', path);
  for (const text of ['x', '17 8', '-1']) {
    await refusesUsage(() => listed(`3\n${text}`, 'ablate'), 'config/wrong-value', `${path}:2:`, text);
  }
  for (const text of ['17', '17 x', 'x 8']) {
    await refusesUsage(() => listed(text, 'set'), 'config/wrong-value', `${path}:1:`, text.split(' ')[0]!);
  }
  await refuses(() => listed('[{"feature":1}]', 'set'), 'disk/wrong-json', path);
  await refuses(() => listed('[1', 'ablate'), 'disk/not-json', path);
  await refusesUsage(() => listed('[{"feature":1,"ablate":true}]', 'set'), 'generate/operations', '--set-features');
  await refusesUsage(() => listed('3', 'ablate', TWO), 'generate/which-sae', 'runs/mlp');
  await refuses(() => readFeatureList(join(path, '..', 'none'), 'set', ONE), 'generate/no-changes-file', 'none');
});
