import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandWords, flagsOf } from '../../src/config/flags.js';
import { loadConfig } from '../../src/config/load.js';
import { RECIPES, type RecipeName, recipeNames, recipeSentence } from '../../src/config/recipes.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { UsageRefusal } from '../../src/errors/refusal.js';

const NEEDED = { activations: 'acts', 'd-sae': 64, out: 'out' };
const loaded = (recipe: RecipeName, more: Readonly<Record<string, unknown>> = {}) =>
  loadConfig('train', { ...NEEDED, recipe, ...more }) as unknown as Readonly<Record<string, unknown>>;

for (const recipe of recipeNames) {
  test(`--recipe ${recipe} sets its values, and given flags take precedence`, () => {
    const keys = new Map(flagsOf(trainSchema).map(({ name, key }) => [name, key]));
    const config = loaded(recipe);
    for (const [flag, value] of Object.entries(RECIPES[recipe].flags)) {
      assert.equal(config[keys.get(flag)!], value, flag);
      assert.ok(
        recipeSentence(recipe).includes(
          typeof value === 'boolean' ? `--${value ? '' : 'no-'}${flag}` : `--${flag} ${value}`,
        ),
        flag,
      );
    }
    assert.equal(loaded(recipe, { beta2: 0.5 }).beta2, 0.5);
    // The command that is repeated names the settings one by one: a default that was given must not turn into the recipe's.
    const plain = trainSchema.parse({ activations: 'acts', dSae: 64, out: 'out' });
    const given = loaded(recipe, { start: plain.start, normalize: plain.normalize });
    assert.ok(!commandWords(trainSchema, given).includes('--recipe'));
  });
}

test("a resumed run's settings take precedence over its recipe, and an unknown recipe is refused", () => {
  const config = loadConfig('train', { ...NEEDED }, undefined, { recipe: 'openai-topk', beta1: 0.25 });
  assert.equal(config.beta1, 0.25);
  assert.throws(() => loadConfig('train', { ...NEEDED, recipe: 'none' }), UsageRefusal);
});
