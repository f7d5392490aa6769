import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stageConfig } from '../../src/cli/stage-config.js';
import { loadConfig } from '../../src/config/load.js';
import { harvestCommand } from '../../src/harvest/harvest-command.js';

test('the recorded command asks for the same harvest', async () => {
  const given = {
    ...{ model: 'my models/m', corpus: ['a.txt', 'b.txt'], 'corpus-weights': [3, 1], hook: ['blocks.0.hook_mlp_out'] },
    ...{ tokens: 2_000_000, context: 64, 'prepend-bos': false, dtype: 'bfloat16', threads: 3, out: 'acts' },
  };
  for (const [more, shard] of [
    [{}, undefined],
    [{ shard: '2/4' }, '2/4'],
    [{ shard: '0/1' }, undefined],
  ] as const) {
    const config = loadConfig('harvest', { ...given, ...more, overwrite: true });
    const { directory, words } = harvestCommand(config)!;
    assert.equal(directory, process.cwd());
    const again = await stageConfig('harvest', [...words, '--out', 'acts', '--resume']);
    assert.deepEqual({ ...again.config, shard }, { ...config, shard, overwrite: false, resume: true });
    assert.equal(again.config.shard, shard);
  }
  assert.equal(harvestCommand(loadConfig('harvest', { ...given, corpus: ['-'], 'corpus-weights': [1] })), undefined);
});
