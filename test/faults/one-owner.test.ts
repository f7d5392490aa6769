import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { demo } from '../../src/cli/demo.js';
import { evalSchema } from '../../src/config/stages/eval.js';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { demoSchema } from '../../src/config/stages/machine.js';
import { exportSchema } from '../../src/config/stages/saes.js';
import { sweepSchema } from '../../src/config/stages/sweep.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { LOCK_FILE, lockDirectory } from '../../src/disk/lock.js';
import { Refusal } from '../../src/errors/refusal.js';
import { evaluate } from '../../src/eval/evaluate.js';
import { harvest } from '../../src/harvest/harvest.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { exportSae } from '../../src/sae/export.js';
import { sweep } from '../../src/sweep/sweep.js';
import { train } from '../../src/train/train.js';
import { logged, refused } from '../cli/refused.js';
import { run, sleep, start } from '../cli/run-program.js';
import { refuses } from '../config/refuses.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { countBelow, leftOver, linesOf } from './kills.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
const model = 'assets/tiny-gemma';
const corpus = 'assets/corpus/validation.jsonl.gz';
const HOOK = 'blocks.1.hook_mlp_out';
const sae = join(root, 'sae');
let activations: string;

const small = { dSae: 64, batch: 64, steps: 20, logEvery: 1 };

before(async () => {
  activations = await tinyActivations(root);
  await train(trainSchema.parse({ activations, ...small, out: sae }), silent, never);
});

async function until(condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 60_000; !condition(); ) {
    assert.ok(Date.now() < end, 'waited in vain');
    await sleep(5);
  }
}

for (const again of ['', '--overwrite', '--resume']) {
  test(`while one process trains, a second one ${again} is refused; when it is killed, a third continues`, async () => {
    const out = join(root, `train${again}`);
    const flags = ['--d-sae', '64', '--batch', '64', '--steps', '3000', '--log-every', '1', '--checkpoint-every', '5'];
    const command = ['train', '--activations', activations, ...flags, '--out', out];
    const { child, outcome } = start(...command);
    await until(() => linesOf(join(out, 'metrics.jsonl')) > 12);
    const second = await run(...logged([...command, ...(again ? [again] : [])]));
    const owner = ['`sae-pipe train`', `pid ${child.pid} of `, / on \S+, since \d{4}-\d\d-\d\dT[\d:.]+Z/];
    refused(second, 'disk/in-use', out, ...owner, '--out');
    assert.equal(second.stdout, '');
    assert.equal(second.stderr.trim().split('\n').length, 1, second.stderr);
    assert.equal(child.exitCode, null, 'the first continues');
    child.kill('SIGKILL');
    await outcome;
    const kept = linesOf(join(out, 'metrics.jsonl'));
    const third = start(...command, '--resume');
    await until(() => linesOf(join(out, 'metrics.jsonl')) > kept);
    third.child.kill('SIGINT');
    assert.equal((await third.outcome).code, 130);
    assert.ok(!readdirSync(out).some((name) => name.startsWith(LOCK_FILE)), 'given up');
  });
}

test('of harvests begun at once one writes the stores, and the others leave them alone', async () => {
  const out = join(root, 'at-once');
  const flags = ['--model', model, '--corpus', corpus, '--hook', HOOK, '--tokens', '2000', '--context', '64'];
  const command = ['harvest', ...flags, '--rows-per-shard', '200'];
  const outcomes = await Promise.all([1, 2, 3].map(() => run(...logged([...command, '--out', out, '--overwrite']))));
  const won = outcomes.filter(({ code }) => code === 0);
  assert.ok(won.length >= 1, outcomes[0]!.stderr);
  for (const outcome of outcomes.filter(({ code }) => code !== 0)) refused(outcome, 'disk/in-use', 'sae-pipe harvest');
  assert.deepEqual(leftOver(out), []);
  assert.equal((await run(...command, '--out', join(root, 'alone'))).code, 0);
  assert.deepEqual(filesBelow(out), filesBelow(join(root, 'alone')));
});

test('every stage refuses a directory that has an owner, whatever it holds, and changes nothing', async () => {
  const file = join(root, 'sweep.yaml');
  writeFileSync(file, 'train: {steps: 5, batch: 64, d-sae: 64}\n');
  const text = { model, corpus };
  const swept = (out: string) => {
    const config = sweepSchema.parse({ out, hook: [HOOK], arch: ['gated'], l1: [2], activations: join(root, 'acts') });
    return sweep(config, file, silent, never);
  };
  // --out of each, and the directory that has an owner.
  const stages: [name: string, held: string, write: (out: string, overwrite: boolean) => Promise<unknown>][] = [
    [
      'harvest',
      HOOK,
      (out, overwrite) => {
        const hook = ['blocks.0.hook_mlp_out', HOOK];
        return harvest(harvestSchema.parse({ ...text, hook, tokens: 500, out, overwrite }), silent, never);
      },
    ],
    [
      'train',
      '',
      (out, overwrite) => train(trainSchema.parse({ activations, ...small, out, overwrite }), silent, never),
    ],
    [
      'eval',
      '',
      (out, overwrite) =>
        evaluate(evalSchema.parse({ ...text, sae: [sae], tokens: 200, out, overwrite }), silent, never),
    ],
    ['export', '', (out, overwrite) => exportSae(exportSchema.parse({ sae, as: 'jumprelu', out, overwrite }))],
    [
      'demo',
      '',
      (out, overwrite) =>
        demo(demoSchema.parse({ out, overwrite, quick: true }), { progress: silent, stop: never, print() {} }),
    ],
    ['sweep', '', swept],
    ['swept', join('saes', HOOK, 'gated_d-sae-64_l1-2_seed-0'), swept],
  ];
  for (const [name, below, write] of stages) {
    const out = join(root, 'owned', name);
    const held = join(out, below);
    mkdirSync(held, { recursive: true });
    const lock = await lockDirectory(held);
    writeFileSync(join(held, 'manifest.json'), 'of the owner');
    const files = () => {
      const found = filesBelow(out);
      // The sweep's own record, next to the run that another process holds.
      if (name === 'swept') found.delete('sweep.json');
      return found;
    };
    const before = files();
    for (const overwrite of [false, true]) {
      const code = name === 'swept' ? 'sweep/runs-failed' : 'disk/in-use';
      await refuses(() => write(out, overwrite), code, held, `pid ${process.pid} of`);
    }
    assert.deepEqual(files(), before, name);
    await lock.release();
    assert.deepEqual([...files().keys()], [join(below, 'manifest.json')]);
  }
});

test('however a stage ends, the directory is released', async () => {
  const out = join(root, 'given-up');
  const configured = { model, corpus, hook: [HOOK], tokens: 500, context: 64, out };
  // For lack of the provider, or of a GPU with that number.
  await assert.rejects(
    harvest(harvestSchema.parse({ ...configured, device: 'cuda:77' }), silent, never),
    (error: unknown) => error instanceof Refusal && error.code.startsWith('onnx/'),
  );
  assert.throws(() => readdirSync(out), /ENOENT/);
  await assert.rejects(
    harvest(harvestSchema.parse(configured), silent, { signal: 'SIGINT' }),
    /nothing was started yet/,
  );
  assert.throws(() => readdirSync(out), /ENOENT/);
  await harvest(harvestSchema.parse(configured), silent, never);
  assert.equal(countBelow(out, /sae-pipe\.lock/), 0);
  // What is finished is resumed with nothing to do.
  await harvest(harvestSchema.parse({ ...configured, resume: true }), silent, never);
  await train(trainSchema.parse({ activations, ...small, out: sae, resume: true }), silent, never);
  assert.equal(countBelow(out, /sae-pipe\.lock/) + countBelow(sae, /sae-pipe\.lock/), 0);
});

test('a killed owner’s lock in a directory that is not empty does not make it free', onDemand, async () => {
  const out = join(root, 'not-free');
  mkdirSync(out);
  copyFileSync(join(sae, 'cfg.json'), join(out, 'cfg.json'));
  writeFileSync(join(out, LOCK_FILE), '{"torn');
  const configured = { sae, as: 'jumprelu', out };
  await refuses(() => exportSae(exportSchema.parse(configured)), 'disk/out-exists');
  assert.deepEqual(readFileSync(join(out, 'cfg.json')), readFileSync(join(sae, 'cfg.json')));
  await exportSae(exportSchema.parse({ ...configured, overwrite: true }));
  assert.deepEqual(readdirSync(out).sort(), ['cfg.json', 'sae_weights.safetensors']);
  // The beginning of a killed export is removed, but never what else is there.
  const begun = join(root, 'begun');
  mkdirSync(begun);
  const left = ['sae_weights.safetensors', 'cfg.json.0123456789abcdef.tmp', LOCK_FILE];
  for (const name of [...left, 'thesis.tex']) writeFileSync(join(begun, name), '{"torn');
  await refuses(() => exportSae(exportSchema.parse({ ...configured, out: begun })), 'disk/out-exists');
  assert.deepEqual(readdirSync(begun).sort(), [
    'cfg.json.0123456789abcdef.tmp',
    'sae_weights.safetensors',
    'thesis.tex',
  ]);
  rmSync(join(begun, 'thesis.tex'));
  writeFileSync(join(begun, LOCK_FILE), '{"torn');
  await exportSae(exportSchema.parse({ ...configured, out: begun }));
  assert.deepEqual(filesBelow(begun), filesBelow(out));
});
