import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readEvaluation } from '../../src/eval/record.js';
import { saveSae } from '../../src/sae/saelens.js';
import { tinyHub } from '../hub/tiny-hub.js';
import { randomSae } from '../sae/random-sae.js';
import { temporaryDirectory } from '../temporary.js';
import { logged, refused, refusedUsage } from './refused.js';
import { run, startIn } from './run-program.js';

const root = temporaryDirectory();
const sae = join(root, 'gated');

test('push lists and uploads files and says where; eval opens the uploaded SAE by its reference', async (t) => {
  mkdirSync(sae);
  await saveSae(sae, randomSae('gated', 192, 16, 1), { hook_name: 'blocks.1.hook_mlp_out', context_size: 64 });
  const { hub, cache } = await tinyHub(t, new Map());
  hub.uploads.faults = { writer: 'hf_writer' };
  const place = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, HF_TOKEN: 'hf_writer' };
  const dry = await run('push', sae, 'google/tiny/gated', '--dry-run');
  assert.equal(dry.code, 0, dry.stderr);
  assert.match(dry.stdout, /gated\/sae_weights\.safetensors[\s\S]*library_name: saelens/);
  assert.equal(hub.files.size, 0);

  const { code, stdout, stderr } = await startIn(place, 'push', sae, 'google/tiny/gated', '--license', 'mit').outcome;
  assert.equal(code, 0, stderr);
  assert.ok(stdout.includes(`main is at ${hub.commit}`) && !`${stdout}${stderr}`.includes('hf_writer'), stdout);
  const out = join(root, 'evaluation');
  const text = ['--corpus', 'assets/corpus/validation.jsonl.gz', '--tokens', '200', '--context', '64'];
  const evaluated = await startIn(
    { ...place, HF_TOKEN: '' },
    ...['eval', '--sae', 'google/tiny/gated', '--model', 'assets/tiny-gemma', ...text, '--out', out],
  ).outcome;
  assert.equal(evaluated.code, 0, evaluated.stderr);
  assert.equal((await readEvaluation(out))[0]!.record.d_sae, 16);

  const stranger = startIn({ ...place, HF_TOKEN: 'hf_other' }, ...logged(['push', sae, 'google/tiny/other']));
  refused(await stranger.outcome, 'hub/may-not-write', 'google/tiny', '403');
  refusedUsage(await run(...logged(['push', sae, 'tiny'])), 'publish/wrong-destination', 'tiny');
  refusedUsage(await run(...logged(['push', sae, 'a/b', 'c'])), 'cli/surplus-argument', '"c"');
});
