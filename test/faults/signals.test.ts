import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { openStoreSource } from '../../src/activations/store-source.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { train } from '../../src/train/train.js';
import { Trainer } from '../../src/train/trainer.js';
import { sleep } from '../cli/run-program.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { countBelow } from './kills.js';

/** Milliseconds from a signal to the end, at most. */
const PATIENCE = 10_000;
const root = temporaryDirectory();
const model = ['--model', 'assets/tiny-gemma'];
const HOOK = 'blocks.1.hook_mlp_out';
const long = [...model, '--corpus', 'assets/corpus/train.jsonl.gz', '--context', '64', '--tokens', '400000'];
const at = (name: string) => join(root, name);
const sae = at('sae');
let activations: string;

before(async () => {
  activations = await tinyActivations(root);
  const size = { dSae: 64, batch: 64, steps: 20 };
  await train(trainSchema.parse({ activations, ...size, out: sae }), silent, { signal: undefined });
});

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** Runs a command in a separate process group and signals it when `when` matches its output, or exists as a file. */
async function signalled(
  args: readonly string[],
  signal: 'SIGINT' | 'SIGTERM',
  when: (stderr: string) => boolean | Promise<void>,
): Promise<Ended> {
  const child = spawn(process.execPath, ['bin/sae-pipe.js', ...args, '--log', 'json'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  const closed = once(child, 'close');
  for (;;) {
    const now = when(stderr);
    if (now instanceof Promise) await now;
    if (now) break;
    assert.equal(child.exitCode, null, stderr);
    await sleep(5);
  }
  const sent = performance.now();
  child.kill(signal);
  const [code, by] = await closed;
  assert.ok(performance.now() - sent < PATIENCE, `${performance.now() - sent} ms`);
  // Not a process of the group is left.
  assert.throws(() => process.kill(-child.pid!, 0), { code: 'ESRCH' });
  return { code, signal: by, stderr };
}

/** Is the task under way? */
const doing = (label: string) => (stderr: string) => stderr.includes(`"label":"${label}`);

/** The last line is that of the interruption, with a message that matches; nothing temporary is left. */
function interrupted({ code, stderr }: Ended, signal: 'SIGINT' | 'SIGTERM', message: RegExp): void {
  assert.equal(code, signal === 'SIGINT' ? 130 : 143, stderr);
  const last = JSON.parse(stderr.trim().split('\n').at(-1)!);
  assert.deepEqual([last.event, last.signal], ['interrupted', signal]);
  assert.match(last.message, message);
  assert.equal(countBelow(root, /\.tmp$|sae-pipe\.lock/), 0);
}

const AGAIN = /^nothing was started yet; rerun the same command to start it\.$/;

test('harvest: a stop while counting leaves nothing, a later one keeps the rows', async () => {
  const harvest = ['harvest', ...long, '--hook', HOOK, '--out'];
  interrupted(await signalled([...harvest, at('counted')], 'SIGTERM', doing('counting tokens')), 'SIGTERM', AGAIN);
  assert.ok(!existsSync(at('counted')));
  const begun = (stderr: string) => /"harvesting","done":[1-9]/.test(stderr);
  const kept = /^\d+ of 400000 rows are kept in .*harvest; continue with the same command and --resume\.$/;
  interrupted(await signalled([...harvest, at('harvest')], 'SIGINT', begun), 'SIGINT', kept);
  const resumed = [...harvest, at('harvest'), '--resume'];
  interrupted(await signalled(resumed, 'SIGTERM', doing('harvesting')), 'SIGTERM', /--resume\.$/);
});

test('train: from a store, and from a running model before its first window', async () => {
  const size = ['--d-sae', '64', '--batch', '64', '--lr', '1e-3'];
  const stored = ['train', '--activations', activations, ...size, '--steps', '100000', '--out', at('train')];
  const kept = /^step \d+ of 100000 is saved in .*train; rerun the same command with --resume to continue\.$/;
  interrupted(await signalled(stored, 'SIGTERM', doing('training')), 'SIGTERM', kept);
  const live = ['train', ...long, '--hook', HOOK, ...size, '--out', at('live')];
  const waiting = (stderr: string) => stderr.includes('at most 2 windows');
  interrupted(await signalled(live, 'SIGINT', waiting), 'SIGINT', AGAIN);
  assert.ok(!existsSync(at('live')));
});

test('eval: nothing is written, and the message says how to begin again', async () => {
  const evaluation = ['eval', '--sae', sae, ...model, '--corpus', 'assets/corpus/validation.jsonl.gz'];
  const more = ['--context', '64', '--tokens', '3000', '--out', at('eval')];
  const message = /nothing was written; the same command starts it again\.$/;
  interrupted(await signalled([...evaluation, ...more], 'SIGINT', doing('evaluating')), 'SIGINT', message);
  interrupted(await signalled([...evaluation, ...more], 'SIGTERM', doing('taking the mean')), 'SIGTERM', message);
  assert.ok(!existsSync(at('eval')));
});

test('sweep and demo: finished work is kept, or the flag that begins again is named', async () => {
  const file = at('sweep.yaml');
  writeFileSync(file, 'train: {steps: 100000, batch: 64, lr: 0.001}\n');
  const lists = ['--arch', 'gated', '--arch', 'standard', '--d-sae', '64', '--l1', '2', '--hook', HOOK];
  const sweep = ['sweep', '--config', file, ...lists, '--activations', at('acts'), '--out', at('sweep')];
  const begun = () => countBelow(at('sweep'), /run\.json$/) === 2;
  const message = /^what is done is kept in .*sweep; rerun the same command to resume\.$/;
  interrupted(await signalled(sweep, 'SIGTERM', begun), 'SIGTERM', message);
  assert.equal(countBelow(at('sweep'), /checkpoint-\d+\.safetensors$/), 2);
  const demo = ['demo', '--quick', '--out', at('demo')];
  interrupted(await signalled(demo, 'SIGINT', doing('harvesting')), 'SIGINT', /same command with --overwrite starts/);
});

test('a signal while the program loads ends it, whenever it comes, and nothing is left', async () => {
  for (const [i, milliseconds] of [0, 100, 250, 400, 550].entries()) {
    const signal = i % 2 ? 'SIGINT' : 'SIGTERM';
    const out = at(`early-${i}`);
    const harvest = ['harvest', ...long, '--hook', HOOK, '--out', out];
    let waited: Promise<void> | undefined;
    const ended = await signalled(harvest, signal, () => {
      waited ??= sleep(milliseconds).then(() => {});
      return waited;
    });
    // Before the program listens, the system ends it: shells say 130 or 143 of that, too.
    if (ended.signal === null) interrupted(ended, signal, AGAIN);
    else assert.equal(ended.signal, signal);
    assert.ok(!existsSync(out), readdirSync(root).join(' '));
  }
});

test('a stop while inputs are read for resampling keeps the step before, and resumes to the same bytes', async () => {
  const configured = (out: string, more = {}) =>
    trainSchema.parse({
      ...{
        activations,
        dSae: 200,
        batch: 64,
        steps: 60,
        lr: 1e-2,
        l1: 150,
        // Nothing is read before the first step.
        start: 'zero',
        bDecInit: 'zero',
        normalize: 'mean-norm',
        maxActivationNormMultiple: 0,
        deadWindow: 192,
        logEvery: 1,
      },
      ...{ resampleAt: [40], resampleInputs: 2000, out: at(out), ...more },
    });
  const said: string[] = [];
  const say = (line: string) => said.push(line);
  await train(configured('undisturbed'), { ...silent, say }, { signal: undefined });
  assert.match(said.join('\n'), /Step 40: [1-9]\d* of \d+ dead features resampled/);

  const config = configured('resampling');
  const source = await openStoreSource({ activations });
  const stored = source.batches(config.order, config.seed);
  const stop: StopRequest = { signal: undefined };
  const batches: typeof stored = {
    seek: (rows) => stored.seek(rows),
    next: (size, into) => stored.next(size, into),
    async *inputs(occasion) {
      for await (const rows of stored.inputs(occasion)) {
        stop.signal = 'SIGINT';
        yield rows;
      }
    },
  };
  const trainer = (await Trainer.open(config, { source, batches }, () => {}, stop))!;
  for (let step = 0; step < 39; step++) await trainer.step(await batches.next(config.batch));
  await assert.rejects(
    trainer.step(await batches.next(config.batch)),
    /^Interrupted: step 39 of 60 is saved in .*--resume/,
  );
  await trainer.close();
  assert.ok(existsSync(join(at('resampling'), 'checkpoint-00000039.safetensors')), 'what was said to be kept');
  await train({ ...config, resume: true }, silent, { signal: undefined });
  const [found, expected] = [filesBelow(at('resampling')), filesBelow(at('undisturbed'))];
  for (const name of ['cfg.json', 'sae_weights.safetensors']) assert.deepEqual(found.get(name), expected.get(name));
  assert.deepEqual([...found.keys()], [...expected.keys()]);
});

test('a document of 56 MB is read as far as needed, within the stated memory, and a stop is noticed in it', async () => {
  const corpus = at('large.txt');
  writeFileSync(corpus, 'Gentlemen of the Senate, the state of the Union is strong.\n'.repeat(950_000));
  const harvest = [...model, '--corpus', corpus, '--hook', HOOK, '--context', '64'];
  const ended = await signalled(
    ['harvest', ...harvest, '--tokens', '50000000', '--out', at('large')],
    'SIGTERM',
    (stderr) => /"label":"counting tokens","done":[1-9]/.test(stderr),
  );
  interrupted(ended, 'SIGTERM', /nothing was started/);
  const child = spawn(
    process.execPath,
    ['bin/sae-pipe.js', 'harvest', ...harvest, '--tokens', '2000', '--out', at('small'), '--log', 'json'],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let stderr = '';
  let peak = 0;
  child.stderr.on('data', (data) => {
    stderr += data;
    // What the process has held at most, by the kernel's account, in KiB.
    const status = existsSync(`/proc/${child.pid}/status`) ? readFileSync(`/proc/${child.pid}/status`, 'utf8') : '';
    peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0));
  });
  const [code] = await once(child, 'close');
  assert.equal(code, 0, stderr);
  const bound = Number(/Memory: at most ([\d.]+) MiB/.exec(stderr)![1]);
  assert.ok(peak / 1024 < bound, `${peak / 1024} MiB of ${bound}`);
});
