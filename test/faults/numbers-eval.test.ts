import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import type { EvalRecord } from '../../src/eval/record.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { initialise } from '../../src/sae/registry.js';
import { square } from '../../src/sae/sae.js';
import { saveSae } from '../../src/sae/saelens.js';
import { logged, refused } from '../cli/refused.js';
import { run } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { changedTensor } from './damage.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const HOOK = 'blocks.1.hook_mlp_out';
const DOWN = 'model.layers.1.mlp.down_proj.weight';
const root = temporaryDirectory();
const sae = join(root, 'sae');
let counter = 0;
const fresh = () => join(root, `out-${counter++}`);

before(async () => {
  const { mkdirSync } = await import('node:fs');
  mkdirSync(sae);
  const { fingerprint } = await openCheckpoint('assets/tiny-gemma');
  const metadata = { hook_name: HOOK, context_size: 128, model_fingerprint: fingerprint };
  await saveSae(sae, initialise('gated', square(192, 300), 3), metadata);
});

const evaluate = (out: string, of: string, model: string, ...more: string[]) =>
  run(
    ...logged([
      'eval',
      ...['--sae', of, '--model', model, '--corpus', 'assets/corpus/validation.jsonl.gz', '--tokens', '600'],
      ...['--any-model', '--out', out, ...more],
    ]),
  );

const model = (change: (bytes: Buffer) => void) =>
  changedTensor('assets/tiny-gemma', fresh(), 'model.safetensors', DOWN, change);

for (const tensor of ['W_enc', 'W_dec', 'b_dec', 'b_gate', 'b_mag', 'r_mag']) {
  test(`an SAE with one NaN in ${tensor} is refused by name, and nothing is written`, async () => {
    const damaged = changedTensor(sae, fresh(), 'sae_weights.safetensors', tensor, (bytes) => {
      bytes.writeFloatLE(Number.NaN, bytes.length - 4);
    });
    const out = fresh();
    const outcome = await evaluate(out, damaged, 'assets/tiny-gemma');
    refused(outcome, 'sae/not-finite', join(damaged, 'sae_weights.safetensors'), 'NaN', tensor);
    assert.ok(!existsSync(out));
  });
}

test('an SAE whose reconstructions overflow is named, not the model', async () => {
  const huge = changedTensor(sae, fresh(), 'sae_weights.safetensors', 'b_mag', (bytes) => {
    for (let at = 0; at < bytes.length; at += 4) bytes.writeFloatLE(3e38, at);
  });
  const out = fresh();
  refused(await evaluate(out, huge, 'assets/tiny-gemma'), 'eval/reconstruction-not-finite', huge);
  assert.ok(!existsSync(out));
});

test('eval and harvest report a NaN in the weights of the model by the hook where it begins', onDemand, async () => {
  const damaged = model((bytes) => bytes.writeUInt16LE(0x7fc0, 100));
  const out = fresh();
  const begins = 'first at blocks.1.hook_mlp_out';
  refused(await evaluate(out, sae, damaged), 'eval/loss-not-finite', /contexts 0 to \d+/, begins);
  const acts = fresh();
  const words = ['--corpus', 'assets/corpus/validation.jsonl.gz', '--tokens', '500', '--context', '128'];
  const read = ['--model', damaged, '--hook', 'blocks.3.hook_resid_post', ...words];
  const harvested = await run(...logged(['harvest', ...read, '--out', acts]));
  const where = /blocks\.3\.hook_resid_post \(layer 3\), in context 0 at position 1/;
  refused(harvested, 'harvest/not-finite', where, begins);
  const trained = await run(...logged(['train', ...read, '--d-sae', '64', '--batch', '64', '--out', fresh()]));
  refused(trained, 'harvest/not-finite', begins);
  assert.ok(!existsSync(out));
});

test('a model that overflows in float16 is refused, with the precision to use', onDemand, async () => {
  // 2²² times the weight: 22 on the exponent, which begins at bit 7 of a bfloat16.
  const large = model((bytes) => {
    for (let at = 0; at < bytes.length; at += 2) {
      const word = bytes.readUInt16LE(at);
      if ((word & 0x7fff) !== 0) bytes.writeUInt16LE(word + (22 << 7), at);
    }
  });
  const words = ['--corpus', 'assets/corpus/validation.jsonl.gz', '--tokens', '500', '--context', '128'];
  const at = ['--hook', HOOK, '--dtype', 'float32'];
  const harvest = ['harvest', '--model', large, ...at, ...words, '--precision', 'float16', '--out', fresh()];
  const where = /blocks\.1\.hook_mlp_out \(layer 1\), in context \d+ at position \d+/;
  refused(await run(...logged(harvest)), 'harvest/not-finite', where, '--precision float32');
  const whole = await run('harvest', '--model', large, ...at, ...words, '--precision', 'float32', '--out', fresh());
  assert.equal(whole.code, 0, whole.stderr);
  const out = fresh();
  const evaluated = await evaluate(out, sae, large, '--precision', 'float16');
  refused(evaluated, 'eval/loss-not-finite', 'first at blocks.1.hook_mlp_out', '--precision float32');
});

test(
  'a value that is not finite ends a harvest after the complete windows, which --resume keeps',
  onDemand,
  async () => {
    // The embedding of one token, which some later context is the first to hold.
    const { tokens, first } = await firstLateToken();
    const damaged = changedTensor(
      'assets/tiny-gemma',
      fresh(),
      'model.safetensors',
      'model.embed_tokens.weight',
      (b) => {
        b.writeUInt16LE(0x7fc0, tokens * 192 * 2);
      },
    );
    const out = fresh();
    const flags = ['--corpus', 'assets/corpus/validation.jsonl.gz', '--tokens', '30000', '--context', '128'];
    const window = ['--batch', '4', '--window-rows', '508', '--rows-per-shard', '300', '--hook', HOOK];
    const args = ['harvest', '--model', damaged, ...flags, ...window, '--out', out];
    const where = `in context ${first.context} at position ${first.pos}`;
    refused(await run(...logged(args)), 'harvest/not-finite', where);
    const manifest = () => JSON.parse(readFileSync(join(out, HOOK, 'manifest.json'), 'utf8'));
    const windows = Math.floor(first.context / 4);
    assert.equal(manifest().contexts.length, windows);
    assert.equal(manifest().complete, false);
    const before = manifest();
    refused(await run(...logged([...args, '--resume'])), 'harvest/not-finite', where);
    assert.deepEqual(manifest(), before);
    const store = join(out, HOOK);
    const trained = await run(...logged(['train', '--activations', store, '--d-sae', '64', '--out', fresh()]));
    refused(trained, 'activations/incomplete', store);
  },
);

/** A token that contexts 0 to 7 lack, and where it comes first. */
async function firstLateToken(): Promise<{ tokens: number; first: { context: number; pos: number } }> {
  const { packContexts } = await import('../../src/corpus/contexts.js');
  const { readDocuments } = await import('../../src/corpus/documents.js');
  const { openTokenizer } = await import('../../src/corpus/tokenizer.js');
  const tokenizer = await openTokenizer('assets/tiny-gemma', { bosTokenId: 2 });
  const seen = new Set<number>();
  for await (const { index, tokens } of packContexts(
    readDocuments('assets/corpus/validation.jsonl.gz', 'text'),
    tokenizer,
    128,
  )) {
    const pos = tokens.findIndex((token) => !seen.has(token));
    if (index >= 8 && pos > 0) return { tokens: tokens[pos]!, first: { context: index, pos } };
    for (const token of tokens) seen.add(token);
  }
  throw new Error('no such token');
}

test('where nothing is lost without the hook, and no feature is active, ratios are missing and the report is drawn', async () => {
  const silent = model((bytes) => bytes.fill(0));
  const dead = changedTensor(sae, fresh(), 'sae_weights.safetensors', 'b_gate', (bytes) => {
    for (let at = 0; at < bytes.length; at += 4) bytes.writeFloatLE(-1e6, at);
  });
  const out = fresh();
  const { code, stdout, stderr } = await evaluate(out, dead, silent, '--mean-ablation');
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stdout, /NaN|Infinity/);
  const [record] = JSON.parse(readFileSync(join(out, 'eval.json'), 'utf8')) as EvalRecord[];
  assert.equal(record!.ce_zero, record!.ce_clean);
  for (const key of ['loss_recovered', 'loss_recovered_mean', 'relative_reconstruction_bias', 'fvu'] as const) {
    assert.equal(record![key], null, key);
  }
  assert.equal(record!.l0, 0);
  assert.equal(record!.dead_fraction, 1);
  const page = join(root, 'page.html');
  const reported = await run('report', out, '--out', page);
  assert.equal(reported.code, 0, reported.stderr);
  assert.doesNotMatch(readFileSync(page, 'utf8'), />[^<]*(NaN|Infinity)[^<]*</);

  const alive = await evaluate(fresh(), dead, 'assets/tiny-gemma');
  assert.equal(alive.code, 0, alive.stderr);
  assert.doesNotMatch(alive.stdout, /NaN/);
});
