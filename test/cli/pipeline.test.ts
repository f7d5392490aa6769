import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { EvalRecord } from '../../src/eval/record.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { logged, refused } from './refused.js';
import { run, sleep, start, startIn } from './run-program.js';

const HOOK = 'blocks.2.hook_resid_post';
const root = temporaryDirectory();
const acts = join(root, 'acts');
const sae = join(root, 'gated');

type Flags = Record<string, string | number | boolean | readonly string[]>;

/** A command with the bundled configuration below it. */
function command(stage: string, flags: Flags): string[] {
  const words = Object.entries(flags).flatMap(([name, value]) =>
    [value].flat().flatMap((v) => (v === true ? [`--${name}`] : [`--${name}`, String(v)])),
  );
  return [stage, '--config', 'configs/tiny-gemma.yaml', ...words];
}
const harvest = (out: string, more: Flags = {}) => command('harvest', { tokens: 20_000, out, ...more });
const train = (out: string, more: Flags = {}) =>
  command('train', { activations: join(acts, HOOK), 'd-sae': 400, tokens: 30_720, out, ...more });

test('the commands of the README work one after another, flags winning over the file', async () => {
  const assets = readdirSync('assets/tiny-gemma');
  const harvested = await run(...harvest(acts));
  assert.equal(harvested.code, 0, harvested.stderr);
  assert.equal(harvested.stdout.trim(), join(acts, HOOK));
  const trained = await run(...train(sae));
  assert.equal(trained.code, 0, trained.stderr);
  const cfg = JSON.parse(readFileSync(join(sae, 'cfg.json'), 'utf8')) as { d_sae: number };
  assert.equal(cfg.d_sae, 400, 'the flag wins');
  const evaluation = join(root, 'eval');
  const evaluated = await run(...command('eval', { sae, tokens: 2000, out: evaluation }));
  assert.equal(evaluated.code, 0, evaluated.stderr);
  assert.match(evaluated.stdout, /loss recovered/);
  assert.match(evaluated.stdout, /means exclude BOS positions/);
  const [record] = JSON.parse(readFileSync(join(evaluation, 'eval.json'), 'utf8')) as EvalRecord[];
  assert.equal(record!.tokens, 2000);
  assert.equal(record!.training_curve, 'training-0.jsonl');
  const before = filesBelow(evaluation);
  const again = await run(...command('eval', { sae, tokens: 2000, out: evaluation }));
  assert.deepEqual([again.code, again.stdout], [0, evaluated.stdout], again.stderr);
  assert.match(again.stderr, /nothing was measured again/);
  for (const other of [{ tokens: 1999 }, { batch: 3 }, { corpus: 'assets/corpus/train.jsonl.gz' }] as Flags[]) {
    const outcome = await run(...logged(command('eval', { sae, tokens: 2000, out: evaluation, ...other })));
    refused(outcome, 'disk/out-exists', evaluation, '--overwrite');
  }
  assert.deepEqual(filesBelow(evaluation), before);
  const page = join(root, 'report.html');
  const reported = await run('report', evaluation, '--out', page);
  assert.equal(reported.code, 0, reported.stderr);
  assert.match(readFileSync(page, 'utf8'), /^<!doctype html>/i);
  const drawn = readFileSync(page);
  assert.equal((await run('report', evaluation, '--out', page)).code, 0, 'the same page once more');
  const retitled = await run(...logged(['report', evaluation, '--out', page, '--title', 'Another']));
  refused(retitled, 'disk/out-exists', page, '--overwrite');
  assert.deepEqual(readFileSync(page), drawn);
  assert.deepEqual(readdirSync('assets/tiny-gemma'), assets, 'nothing is written next to the weights');
});

test('failures exit 1 with one line of cause and remedy; --verbose adds the stack', async () => {
  for (const [args, code, ...named] of [
    [harvest(join(root, 'f1'), { model: root }), 'lm/no-config', root],
    [harvest(join(root, 'f2'), { hook: 'blocks.9.hook_resid_post' }), 'lm/no-hook', 'blocks.9.hook_resid_post'],
    [harvest(acts), 'disk/out-exists', acts, '--overwrite', '--resume'],
    [train(join(root, 'f3'), { activations: root }), 'activations/not-a-store', root],
    [command('eval', { sae: root, out: join(root, 'f4') }), 'sae/not-an-sae', root],
    [['report', root, '--out', join(root, 'f5.html')], 'eval/no-evaluation', 'eval.json'],
  ] as const) {
    const outcome = await run(...logged(args));
    refused(outcome, code, ...named);
    assert.equal(outcome.stderr.trim().split('\n').length, 1, outcome.stderr);
  }
  assert.match((await run('report', root, '--out', join(root, 'f5.html'), '--verbose')).stderr, /\n\s+at /);
  for (const name of ['f1', 'f2', 'f3', 'f4', 'f5.html']) assert.ok(!readdirSync(root).includes(name), name);
});

/** test/faults/signals.test.ts has every signal; this one, every command of the pipeline. */
const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

test('Ctrl-C says how to resume, exits 130, and resuming gives the bytes of an undisturbed run', onDemand, async () => {
  const out = join(root, 'interrupted');
  const long = { 'log-every': 1, tokens: 250_000 };
  const { child, outcome } = start(...train(out, long));
  await until(() => readFileSync(join(out, 'metrics.jsonl'), 'utf8').split('\n').length > 5);
  child.kill('SIGINT');
  const { code, stderr } = await outcome;
  assert.equal(code, 130, stderr);
  assert.match(stderr, /step \d+ of 244 is saved in .*interrupted; rerun the same command with --resume to continue/);
  const [checkpoint, ...others] = readdirSync(out).sort();
  assert.match(checkpoint!, /^checkpoint-\d{8}\.safetensors$/);
  assert.deepEqual(others, ['metrics.jsonl', 'run.json']);
  const resumed = await run(...train(out, { ...long, resume: true }));
  assert.equal(resumed.code, 0, resumed.stderr);
  const whole = join(root, 'whole');
  assert.equal((await run(...train(whole, long))).code, 0);
  for (const file of ['cfg.json', 'sae_weights.safetensors']) {
    assert.deepEqual(readFileSync(join(out, file)), readFileSync(join(whole, file)), file);
  }
});

test('nothing is written outside --out', async () => {
  const home = temporaryDirectory();
  const environment = { HOME: home, TMPDIR: home, XDG_CACHE_HOME: home };
  const trained = await startIn(environment, ...train(join(root, 'alone'))).outcome;
  assert.equal(trained.code, 0, trained.stderr);
  assert.deepEqual([...filesBelow(home).keys()], []);
});

/** Waits until `condition` holds; a file that is not there yet counts as no. */
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 6000; i++) {
    try {
      if (condition()) return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    await sleep(5);
  }
  throw new Error('waited in vain');
}
