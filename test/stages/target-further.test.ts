import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { sweepSchema } from '../../src/config/stages/sweep.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { harvest } from '../../src/harvest/harvest.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { sweepRuns } from '../../src/sweep/runs.js';
import { sweep } from '../../src/sweep/sweep.js';
import { trainConfig } from '../../src/train/resumed-config.js';
import { train } from '../../src/train/train.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { curveOf } from '../train/tiny-activations.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
const [INPUT, OUTPUT, OTHER] = ['blocks.1.attn.hook_z', 'blocks.1.hook_attn_out', 'blocks.1.hook_mlp_out'];
const MODEL = { model: 'assets/tiny-gemma', corpus: 'assets/corpus/validation.jsonl.gz', context: 128 };
let [activations, target, other] = ['', '', ''];
let counter = 0;

before(async () => {
  const config = harvestSchema.parse({ ...MODEL, hook: [INPUT, OUTPUT, OTHER], tokens: 3000, out: root });
  [activations, target, other] = (await harvest(config, silent, never)) as [string, string, string];
});

const flags = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  ...{ activations, target, arch: 'standard', 'd-sae': 120, l1: 0.5, steps: 20, batch: 256, lr: 0.003, warmup: 0 },
  ...{ 'log-every': 1, threads: 1, out: join(root, String(counter++)) },
  ...more,
});
const begin = async (given: Record<string, unknown>, stop = never, progress = silent) =>
  train(await trainConfig(given), progress, stop);
const weights = async (directory: string) => readSae(await openSae(directory, 'transcoder'));

async function resumedAfter(given: Record<string, unknown>, steps: number): Promise<string> {
  const stop: StopRequest = { signal: undefined };
  const update = (done: number) => {
    if (done >= steps * 256) stop.signal = 'SIGINT';
  };
  await assert.rejects(begin(given, stop, { ...silent, update }), Interrupted);
  return begin({ resume: true, out: given.out });
}

for (const [from, to, skip] of [
  ['standard', 'standard', false],
  ['gated', 'jumprelu', true],
] as const) {
  test(`a ${to} transcoder starts from a ${from} one, and what is frozen keeps its bits`, async () => {
    const init = await begin(flags({ arch: from, ...(skip && { skip }) }));
    // As it stands: on the same rows in the same order, the first step has the loss that the next one would have had.
    const next = curveOf(await begin(flags({ arch: from, steps: 21, ...(skip && { skip }) }))).at(-1)!;
    const given = {
      arch: to,
      init,
      train: ['W_enc'],
      order: 'stored',
      ...(skip && { skip }),
      ...(to === 'jumprelu' && { l1: 0.01 }),
    };
    const out = await begin(flags(given));
    const first = curveOf(out)[0]!;
    assert.ok(Math.abs(first.explained_variance! - next.explained_variance!) < 0.1, JSON.stringify([first, next]));
    const [before, after] = [await weights(init), await weights(out)];
    for (const name of ['W_dec', 'b_dec', ...(skip ? (['W_skip'] as const) : [])] as const) {
      assert.deepEqual(after.parameters[name], before.parameters[name], name);
    }
    assert.notDeepEqual(after.parameters.W_enc, before.parameters.W_enc);
    const resumed = await resumedAfter(flags(given), 7);
    for (const name of ['cfg.json', 'sae_weights.safetensors']) {
      assert.deepEqual(readFileSync(join(resumed, name)), readFileSync(join(out, name)), name);
    }
  });
}

test('what a transcoder cannot start from is refused by what it is', async () => {
  const transcoder = await begin(flags({ steps: 2 }));
  const skipped = await begin(flags({ steps: 2, skip: true }));
  const { target: _, ...alone } = flags({ steps: 2 });
  const sae = await begin(alone);
  await refuses(() => begin(flags({ init: sae })), 'train/init-shape', sae);
  await refuses(() => begin(flags({ init: skipped })), 'train/init-shape', skipped, 'skip');
  await refuses(() => begin(flags({ init: transcoder, target: other })), 'train/init-hook', OUTPUT, OTHER);
  await refuses(
    () => begin(flags({ init: transcoder, arch: 'topk', k: 4, l1: undefined })),
    'train/init-shape',
    'topk',
  );
  // A connection that is not there is one of zeros; another hook may be meant.
  await begin(flags({ init: transcoder, skip: true }));
  await begin(flags({ init: transcoder, target: other, 'any-hook': true }));
});

test('dead features of a transcoder are resampled, and a run that is stopped there has the same bytes', async () => {
  const given = { 'resample-at': [8, 15], 'dead-window': 512, 'resample-inputs': 1000, l1: 30, steps: 24 };
  const out = await begin(flags(given));
  const curve = curveOf(out);
  assert.ok(
    curve.some((line) => (line.resampled ?? 0) > 0),
    'none was resampled',
  );
  const resumed = await resumedAfter(flags(given), 10);
  for (const name of ['cfg.json', 'sae_weights.safetensors']) {
    assert.deepEqual(readFileSync(join(resumed, name)), readFileSync(join(out, name)), name);
  }
});

test('a sweep trains transcoders: it harvests both hooks, and gives what train alone gives', onDemand, async () => {
  const file = join(root, 'sweep.yaml');
  const out = join(root, 'sweep');
  const { model, corpus, context } = MODEL;
  writeFileSync(
    file,
    [
      `harvest: {model: ${model}, corpus: ${corpus}, context: ${context}, tokens: 3000, hook: ${INPUT}}`,
      'train: {steps: 6, batch: 256, lr: 0.003, d-sae: 120, l1: 0.5}',
      `eval: {corpus: ${corpus}, tokens: 500}`,
      `sweep: {out: ${out}, runs: [{arch: standard, hook-out: blocks.*.hook_attn_out, skip: [false, true]}, {arch: gated, hook-out: ${OTHER}}, {arch: standard}]}`,
    ].join('\n'),
  );
  const config = sweepSchema.parse({
    out,
    runs: [
      { arch: 'standard', 'hook-out': 'blocks.*.hook_attn_out', skip: [false, true] },
      { arch: 'gated', 'hook-out': OTHER },
      { arch: 'standard' },
    ],
  });
  const { outcomes, records } = await sweep(config, file, silent, never);
  assert.deepEqual(outcomes.map(({ run }) => run.config.target && join(run.config.target)).sort(), [
    ...[
      join(out, 'activations', OUTPUT),
      join(out, 'activations', OUTPUT),
      join(out, 'activations', OTHER),
      undefined,
    ].sort(),
  ]);
  assert.equal(records.length, 4);
  const skipped = outcomes.find(({ run }) => run.config.skip)!.run.config;
  const alone = await begin(
    flags({ activations: skipped.activations, target: skipped.target, steps: 6, skip: true, 'discard-state': true }),
  );
  const bytes = (directory: string) => readFileSync(join(directory, 'sae_weights.safetensors'));
  assert.deepEqual(bytes(skipped.out), bytes(alone));
});

test('a sweep names its targets by their hook, of the layer that is read', async () => {
  const runs = (hook: string, group: Record<string, unknown>) =>
    sweepRuns(sweepSchema.parse({ out: root, runs: [{ 'd-sae': 10, ...group }] }), [hook], 'stores');
  const [run] = runs('blocks.11.ln2.hook_normalized', { 'hook-out': 'blocks.*.hook_mlp_out' });
  assert.equal(run!.config.target, join('stores', 'blocks.11.hook_mlp_out'));
  await refusesUsage(() => runs(INPUT, { target }), 'sweep/flag-of-runs');
  await refusesUsage(() => runs(INPUT, { skip: true }), 'train/target');
  for (const [hook, out] of [
    ['hook_embed', 'blocks.*.hook_mlp_out'],
    [INPUT, '*'],
  ] as const) {
    await refusesUsage(() => runs(hook, { 'hook-out': out }), 'sweep/target');
  }
  const yaml = join(root, 'target.yaml');
  writeFileSync(yaml, `train:\n  target: ${target}\n`);
  const inFile = sweepSchema.parse({ out: root, dSae: [10] });
  await refusesUsage(() => sweepRuns(inFile, [INPUT], root, yaml), 'sweep/flag-of-runs');
});
