import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byTopic } from '../../src/cli/help.js';
import { flagsOf } from '../../src/config/flags.js';
import { STAGES } from '../../src/config/stages.js';
import { flagFor, insteadOfFlag, insteadOfStage } from '../../src/config/suggest.js';

const flag = (name: string) => `--${name}`;

test('names of other tools lead to the flag here, in either spelling', () => {
  for (const [theirs, ours] of Object.entries({
    ...{ l1_coefficient: 'l1', expansion_factor: 'd-sae', model_name: 'model', hook_name: 'hook', hook_layer: 'hook' },
    ...{ lr_warm_up_steps: 'warmup', train_batch_size_tokens: 'batch', training_tokens: 'tokens' },
    ...{
      context_size: 'context',
      dead_feature_window: 'dead-window',
      auxk_alpha: 'aux-coefficient',
      dict_size: 'd-sae',
      d_sae: 'd-sae',
    },
    ...{ sparsity_penalty: 'l1', ctx_len: 'context', num_latents: 'd-sae', dataset_path: 'corpus' },
    ...{ store_batch_size_prompts: 'contexts-per-pass', adam_beta1: 'beta1', checkpoint_path: 'out' },
  })) {
    for (const spelling of [theirs, theirs.replaceAll('_', '-')]) {
      assert.match(insteadOfFlag('train', spelling, flag), new RegExp(`Did you mean --${ours}\\?`), spelling);
    }
  }
  assert.match(insteadOfFlag('harvest', 'store_batch_size_prompts', flag), /--batch\?/);
  assert.match(insteadOfFlag('train', 'hook-layer', flag), /blocks\.LAYER/);
});

test('every foreign name is not a flag here, and maps to one that some command has', () => {
  const ours = Object.values(STAGES).flatMap((schema) => flagsOf(schema).map(({ name }) => name));
  for (const name of ours) assert.equal(flagFor(name, ours), undefined, name);
});

test('a flag of another command says whose it is; a far name gets no guess', () => {
  assert.match(insteadOfFlag('eval', 'd-sae', flag), /belongs to .*train/);
  for (const far of ['wandb-project', 'frobnicate', 'l2', 'x']) {
    assert.doesNotMatch(insteadOfFlag('train', far, flag), /Did you mean/, far);
  }
});

test("commands under other tools' names are recognised", () => {
  assert.match(insteadOfStage('evaluate') ?? '', /eval\?/);
  assert.match(insteadOfStage('harvset') ?? '', /harvest\?/);
  assert.equal(insteadOfStage('frobnicate'), undefined);
  assert.equal(insteadOfStage('constructor'), undefined);
});

test('the help groups every flag once, under the heading of a topic', () => {
  for (const [stage, schema] of Object.entries(STAGES)) {
    const flags = flagsOf(schema);
    const topics = byTopic(stage as keyof typeof STAGES, flags);
    assert.deepEqual(
      topics.flatMap(([, inside]) => inside.map(({ name }) => name)).sort(),
      flags.map(({ name }) => name).sort(),
    );
  }
});
