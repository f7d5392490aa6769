import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStore } from '../../src/activations/store.js';
import { evalSchema } from '../../src/config/stages/eval.js';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { evaluate, evaluateOnce } from '../../src/eval/evaluate.js';
import { harvest } from '../../src/harvest/harvest.js';
import { silent } from '../../src/progress/progress.js';
import { train } from '../../src/train/train.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const HOOK = 'blocks.0.hook_resid_post';
const EOS = 1;
const root = temporaryDirectory();
const never = { signal: undefined };
const corpus = join(root, 'c.jsonl');
writeFileSync(
  corpus,
  `${JSON.stringify({ text: 'Gentlemen of the Senate<eos> and of the House<pad>, good<eos> evening. '.repeat(100) })}\n`,
);
const shared = { model: 'assets/tiny-gemma', corpus, context: 32 };

async function harvested(name: string, more: object = {}): Promise<string> {
  const config = harvestSchema.parse({
    ...shared,
    hook: [HOOK],
    tokens: 300,
    batch: 4,
    out: join(root, name),
    ...more,
  });
  return (await harvest(config, silent, never))[0]!;
}

async function tokensOf(directory: string): Promise<number[]> {
  const store = await openStore(directory);
  return [...(await store.readShard(0)).token];
}

async function trained(activations: string, name: string): Promise<string> {
  const out = join(root, name);
  await train(trainSchema.parse({ activations, dSae: 32, batch: 32, steps: 4, out }), silent, never);
  return out;
}

const evaluated = (sae: string[], name: string, more: object = {}) =>
  evaluate(evalSchema.parse({ ...shared, sae, tokens: 200, batch: 4, out: join(root, name), ...more }), silent, never);

test('special tokens are left out of a store on request, its manifest says which, and an SAE and its evaluation follow', async () => {
  const plain = await harvested('plain');
  assert.ok((await tokensOf(plain)).includes(EOS));
  assert.equal('exclude_special_tokens' in JSON.parse(readFileSync(join(plain, 'manifest.json'), 'utf8')), false);

  const excluding = await harvested('excluding', { excludeSpecialTokens: true });
  const tokens = await tokensOf(excluding);
  assert.equal(tokens.length, 300);
  assert.ok(tokens.every((token) => token > 3));
  assert.deepEqual((await openStore(excluding)).manifest.exclude_special_tokens, [0, 1, 3]);
  // A store is resumed by the rule that it was begun with.
  await refuses(() => harvested('excluding', { resume: true }), 'harvest/other-settings', 'exclude_special_tokens');

  const [with_, without] = [await trained(plain, 'sae-plain'), await trained(excluding, 'sae-excluding')];
  const metadata = (sae: string) => JSON.parse(readFileSync(join(sae, 'cfg.json'), 'utf8')).metadata;
  assert.equal('exclude_special_tokens' in metadata(with_), false);
  assert.deepEqual(metadata(without).exclude_special_tokens, [0, 1, 3]);

  const [all] = await evaluated([with_], 'eval-all');
  const [some] = await evaluated([without], 'eval-some');
  assert.equal('exclude_special_tokens' in all!.settings!, false);
  assert.deepEqual(some!.settings!.exclude_special_tokens, [0, 1, 3]);
  assert.notEqual(some!.ce_clean, all!.ce_clean);
  await refuses(() => evaluated([with_, without], 'eval-both'), 'eval/several-exclusions', '--exclude-special-tokens');
  const both = await evaluated([with_, without], 'eval-both', { excludeSpecialTokens: true });
  assert.deepEqual(
    both.map(({ ce_clean }) => ce_clean),
    [some!.ce_clean, some!.ce_clean],
  );
});

test('an evaluation that left out special tokens is recognised, and nothing is evaluated again', async () => {
  const sae = await trained(await harvested('once', { excludeSpecialTokens: true }), 'sae-once');
  const config = evalSchema.parse({ ...shared, sae: [sae], tokens: 200, batch: 4, out: join(root, 'eval-once') });
  const first = await evaluateOnce(config, silent, never);
  assert.deepEqual(first[0]!.settings!.exclude_special_tokens, [0, 1, 3]);
  const begun: string[] = [];
  const again = await evaluateOnce(config, { ...silent, begin: (label) => void begun.push(label) }, never);
  assert.ok(!begun.some((label) => label.startsWith('evaluating')), begun.join());
  assert.deepEqual(again, first);
  await refuses(
    () => evaluateOnce({ ...config, excludeSpecialTokens: false }, silent, never),
    'disk/out-exists',
    '--overwrite',
  );
});
