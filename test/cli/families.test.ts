import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { EvalRecord } from '../../src/eval/record.js';
import { openRandomModel, type RandomModel, writeCheckpoint } from '../lm/random-model.js';
import { temporaryDirectory } from '../temporary.js';
import { run } from './run-program.js';

/** A tokenizer of bytes whose parts are those of the family. */
function tokenizerOf(name: string): { file: unknown; size: number } {
  const { vocab, merges, cases } = JSON.parse(readFileSync('test/golden/byte-level.json', 'utf8'));
  const { parts, model, added_tokens } = cases.find((one: { name: string }) => one.name === name);
  const bytes = { type: 'BPE', byte_fallback: false, vocab, merges, ...model };
  const size = Object.keys(vocab).length + added_tokens.length;
  return { file: { version: '1.0', added_tokens, normalizer: null, ...parts, model: bytes }, size };
}

/** `SAE_PIPE_LONG=1 node --test dist/test/cli/families.test.js` takes them. */
const LONG = process.env.SAE_PIPE_LONG === '1';

type Model = readonly [name: RandomModel | 'gelu-1l', tokenizer: string, bos: string | null, hook: string];
const MODELS: readonly Model[] = [['gemma4-e', 'digits', '<|endoftext|>', 'blocks.2.hook_resid_post']];
const OTHERS: readonly Model[] = [
  ['gpt2-tied', 'gpt2', '<|endoftext|>', 'hook_embed'],
  ['llama-gqa', 'llama3', '<|begin_of_text|>', 'blocks.1.hook_resid_post'],
  ['neox-parallel', 'neox', '<|endoftext|>', 'blocks.1.mlp.hook_post'],
  ['gelu-1l', 'digits', '<|endoftext|>', 'blocks.0.mlp.hook_post'],
  ['qwen3-biased', 'qwen', null, 'blocks.0.ln2.hook_normalized'],
  ['mistral-window', 'llama3', '<|begin_of_text|>', 'blocks.1.attn.hook_z'],
  ['qwen2-gqa', 'qwen', null, 'blocks.1.hook_mlp_out'],
  ['vault-gqa', 'digits', '<|endoftext|>', 'blocks.1.hook_resid_mid'],
];

/** Runs a command that must succeed. @returns its output */
async function runs(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(...words);
  assert.equal(code, 0, stderr);
  return stdout;
}

for (const [name, kind, bos, hook] of [...MODELS, ...OTHERS]) {
  test(`${name}: harvest, train, resume, eval and report`, { skip: !LONG && 'with SAE_PIPE_LONG=1' }, async (t) => {
    const root = temporaryDirectory(t);
    const { shapes, config } = await openRandomModel(name);
    const { file, size } = tokenizerOf(kind);
    const vocabulary = config.vocab_size ?? config.d_vocab;
    const rows = (shape: number[]) => shape.map((length) => (length === vocabulary ? size : length));
    const wider = Object.fromEntries(Object.entries(shapes).map(([tensor, shape]) => [tensor, rows(shape)]));
    const added = (file as { added_tokens: { content: string; id: number }[] }).added_tokens;
    const id = added.find(({ content }) => content === bos)?.id ?? null;
    const tokens = { bos_token_id: id, eos_token_id: id, pad_token_id: null };
    const model = join(root, 'model');
    const sizes = { vocab_size: size, vocab_size_per_layer_input: size, d_vocab: size };
    await writeCheckpoint(model, { shapes: wider, config: { ...config, ...tokens, ...sizes } });
    const template = { type: 'TemplateProcessing', single: [{ SpecialToken: { id: bos } }, { Sequence: { id: 'A' } }] };
    const post_processor = kind === 'llama3' ? { type: 'Sequence', processors: [template] } : null;
    writeFileSync(join(model, 'tokenizer.json'), JSON.stringify({ ...(file as object), post_processor }));
    writeFileSync(join(model, 'tokenizer_config.json'), JSON.stringify({ bos_token: bos }));

    const text = ['--model', model, '--corpus', 'assets/corpus/validation.jsonl.gz', '--context', '48'];
    const acts = join(root, 'acts');
    await runs('harvest', ...text, '--hook', hook, '--tokens', '3000', '--out', acts);
    const common = ['--activations', join(acts, hook), '--d-sae', '48', '--batch', '256', '--lr', '1e-3', '--l1', '1'];
    const train = (out: string, steps: number, ...more: string[]) =>
      runs('train', '--arch', 'gated', ...common, '--steps', String(steps), '--out', out, ...more);
    const [straight, resumed] = [join(root, 'straight'), join(root, 'resumed')];
    await train(straight, 12);
    await train(resumed, 6, '--checkpoint-every', '3');
    await train(resumed, 12, '--resume');
    const weights = (out: string) => readFileSync(join(out, 'sae_weights.safetensors'));
    assert.ok(weights(straight).equals(weights(resumed)));
    const evaluation = join(root, 'eval');
    await runs('eval', ...text, '--sae', straight, '--tokens', '1000', '--out', evaluation);
    const [record] = JSON.parse(readFileSync(join(evaluation, 'eval.json'), 'utf8')) as EvalRecord[];
    for (const value of Object.values(record!)) if (typeof value === 'number') assert.ok(Number.isFinite(value));
    await runs('report', evaluation, '--out', join(root, 'report.html'));
    await runs('features', ...text, '--sae', straight, '--tokens', '1000', '--out', join(root, 'features'));
    if (name === 'gelu-1l') await runs('doctor', '--model', model, '--hook', hook, '--context', '48');
    // As their tokenizers have it: of these, only Llama 3's begins a text with BOS. Gemma and GELU-1L always have one.
    const manifest = JSON.parse(readFileSync(join(acts, hook, 'manifest.json'), 'utf8'));
    assert.equal(manifest.prepend_bos, kind === 'llama3' || kind === 'digits');
    assert.equal(manifest.bos_token_id, id ?? -1);
  });
}
