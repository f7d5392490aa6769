import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ChangeFlags, readChanges } from '../../src/generate/change-flags.js';
import { changedPositions } from '../../src/generate/changed-positions.js';
import { rowChanges } from '../../src/generate/changes.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const ONE = [{ path: 'runs/gated', dSae: 48 }];
const TWO = [...ONE, { path: 'runs/mlp', dSae: 24 }];
const root = temporaryDirectory();

const read = (flags: Partial<ChangeFlags>, saes = ONE) => readChanges({ ablate: false, ...flags }, saes);

test('flags name features and their changes', async () => {
  assert.deepEqual(await read({ feature: ['17'], set: [8] }), [{ sae: 0, feature: 17, operation: 'set', strength: 8 }]);
  assert.deepEqual(
    (await read({ feature: ['1', '2'], scale: [3] })).map(({ strength }) => strength),
    [3, 3],
  );
  assert.deepEqual(
    (await read({ feature: ['mlp:1', 'runs/gated:2'], add: [3, -4] }, TWO)).map(({ sae, strength }) => [sae, strength]),
    [
      [1, 3],
      [0, -4],
    ],
  );
  assert.deepEqual(await read({ feature: ['0'], ablate: true }), [
    { sae: 0, feature: 0, operation: 'ablate', strength: 0 },
  ]);
  assert.equal((await read({ feature: ['0'], dose: [1, 2] }))[0]!.operation, 'set');
});

test('a file holds changes of several kinds', async () => {
  const path = join(root, 'changes.json');
  const write = (changes: unknown) => writeFileSync(path, JSON.stringify(changes));
  write([
    { sae: 'gated', feature: 17, set: 8 },
    { sae: 'mlp', feature: 3, ablate: true },
    { sae: 'mlp', feature: 4, add: -1 },
  ]);
  assert.deepEqual(await read({ changes: path }, TWO), [
    { sae: 0, feature: 17, operation: 'set', strength: 8 },
    { sae: 1, feature: 3, operation: 'ablate', strength: 0 },
    { sae: 1, feature: 4, operation: 'add', strength: -1 },
  ]);
  for (const broken of [
    [],
    [{ feature: 1 }],
    [{ feature: 1, set: 1, add: 1 }],
    [{ feature: -1, set: 1 }],
    [{ feature: 1, raise: 1 }],
    3,
  ]) {
    write(broken);
    await refuses(() => read({ changes: path }), 'disk/wrong-json', path);
  }
  await refuses(() => read({ changes: join(root, 'none.json') }), 'generate/no-changes-file', 'none.json');
  await refusesUsage(() => read({ changes: path, feature: ['1'] }), 'generate/operations', '--feature');
});

test('contradictory changes and unknown features are refused', async () => {
  await refuses(() => read({ feature: ['48'], set: [1] }), 'generate/no-feature', '48', '47');
  await refusesUsage(() => read({ feature: ['x'], set: [1] }), 'config/wrong-value', 'x');
  await refusesUsage(() => read({}), 'generate/no-change', '--feature');
  await refusesUsage(() => read({ feature: ['1'] }), 'generate/operations', '--set');
  await refusesUsage(
    () => read({ feature: ['1'], set: [1], ablate: true }),
    'generate/operations',
    '--set',
    '--ablate',
  );
  await refusesUsage(() => read({ feature: ['1', '2'], set: [1, 2, 3] }), 'generate/strengths', '3', '2');
  await refusesUsage(() => read({ feature: ['1'], ablate: true, dose: [1] }), 'generate/strengths', '--dose');
  await refusesUsage(() => read({ feature: ['1', '1'], set: [1] }), 'generate/feature-twice', '1');
  await refusesUsage(() => read({ feature: ['1'], set: [1e39] }), 'generate/not-finite', '1e+39');
  await refusesUsage(() => read({ feature: ['1'], set: [1] }, TWO), 'generate/which-sae', 'runs/mlp');
  await refusesUsage(() => read({ feature: ['other:1'], set: [1] }, TWO), 'generate/which-sae', 'other');
  await refusesUsage(() => read({ feature: ['mlp:1'], set: [1] }, TWO), 'generate/unused-sae', 'runs/gated');
});

test('operations are a factor and a summand', () => {
  const of = (operation: 'set' | 'add' | 'scale' | 'ablate', strength: number) => {
    const [first] = rowChanges([{ sae: 0, feature: 2, operation, strength }], 1, () => true).ofSaes;
    return [first!.features, first!.scale, first!.shift];
  };
  assert.deepEqual(of('set', 5), [[2], [0], [5]]);
  assert.deepEqual(of('add', 5), [[2], [1], [5]]);
  assert.deepEqual(of('scale', 5), [[2], [5], [0]]);
  assert.deepEqual(of('ablate', 0), [[2], [0], [0]]);
});

test('positions are lists and ranges, or all from one on', async () => {
  const places = (flags: { positions?: string[]; from?: number }, usual = 1) => {
    const at = changedPositions(flags, usual, 10);
    return Array.from({ length: 10 }, (_, i) => i).filter(at);
  };
  assert.deepEqual(places({ positions: ['0', '3', '5-7'] }), [0, 3, 5, 6, 7]);
  assert.deepEqual(places({ from: 8 }), [8, 9]);
  assert.deepEqual(places({}, 1), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  await refusesUsage(() => places({ positions: ['x'] }), 'config/wrong-value', 'x');
  await refusesUsage(() => places({ positions: ['7-5'] }), 'config/wrong-value', '7-5');
  await refusesUsage(() => places({ positions: ['3-10'] }), 'generate/positions', '10');
  await refusesUsage(() => places({ from: 10 }), 'generate/positions', '10');
  await refusesUsage(() => places({ positions: ['3'], from: 3 }), 'generate/positions', '--from');
});
