import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { Interrupted, UsageRefusal } from '../../src/errors/refusal.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { SettingsFile } from '../../src/status/run-settings.js';
import { trainConfig } from '../../src/train/resumed-config.js';
import { train } from '../../src/train/train.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { curveOf, tinyActivations } from '../train/tiny-activations.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let activations: string;
let counter = 0;

before(async () => {
  activations = await tinyActivations(root);
});

const flags = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  ...{ activations, 'd-sae': 100, steps: 40, batch: 64, lr: 0.001, warmup: 4, 'log-every': 5, threads: 1 },
  ...{ out: join(root, String(counter++)), 'checkpoint-every': 6 },
  ...more,
});
const begin = async (given: Record<string, unknown>, stop = never, progress = silent) =>
  train(await trainConfig(given), progress, stop);
const again = async (out: unknown, more: Record<string, unknown> = {}, stop = never, progress = silent) =>
  train(await trainConfig({ resume: true, out, ...more }), progress, stop);
const file = (directory: unknown, name: string) => readFileSync(join(String(directory), name));
const weights = (directory: unknown) => file(directory, 'sae_weights.safetensors');
const settingsOf = (directory: unknown) => JSON.parse(String(file(directory, 'cfg.json'))).metadata.sae_pipe;

/** Stops a run once it has done this many steps. */
async function stoppedAt(steps: number, run: (stop: StopRequest, progress: typeof silent) => Promise<unknown>) {
  const stop: StopRequest = { signal: undefined };
  const update = (done: number) => {
    if (done >= steps * 64) stop.signal = 'SIGINT';
  };
  await assert.rejects(run(stop, { ...silent, update }), Interrupted);
}

test('--resume and --out alone resume a run with the flags that it was begun with, also from another directory', async () => {
  const whole = await begin(flags());
  const given = flags({
    'b-dec-init': 'geometric-median',
    'resample-at': '20,30',
    'dead-window': 640,
    ablate: ['l1-on-f'],
  });
  const same = await begin({ ...given, out: join(root, 'same') });
  await stoppedAt(10, (stop, progress) => begin(given, stop, progress));
  await stoppedAt(25, (stop, progress) => again(given.out, {}, stop, progress));
  await again(given.out, { threads: 2, 'checkpoint-every': '0' });
  assert.deepEqual(file(given.out, 'cfg.json'), file(same, 'cfg.json'));
  assert.notDeepEqual(weights(given.out), weights(whole));
  await again(given.out);

  // A relative path is resolved where the run was begun.
  const here = process.cwd();
  mkdirSync(join(root, 'elsewhere'));
  try {
    process.chdir(root);
    const relative = flags({ activations: activations.slice(root.length + 1), out: join(root, 'relative') });
    await stoppedAt(10, (stop, progress) => begin(relative, stop, progress));
    process.chdir(join(root, 'elsewhere'));
    await again(relative.out);
    assert.deepEqual(weights(relative.out), weights(whole));
  } finally {
    process.chdir(here);
  }
});

/** Takes `"start":"zero"` out of a checkpoint's header, whose length stays. */
function withoutStart(path: string): void {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE());
  const header = bytes.toString('latin1', 8, 8 + length);
  const before = header.replace(String.raw`\"start\":\"zero\",`, '');
  assert.notEqual(before, header);
  bytes.write(before.padEnd(length), 8, 'latin1');
  writeFileSync(path, bytes);
}

test('a run that was begun before there was --start resumes as it was, from biases of zero', async () => {
  const whole = await begin(flags({ start: 'zero' }));
  const given = flags({ start: 'zero' });
  await stoppedAt(10, (stop, progress) => begin(given, stop, progress));
  const out = String(given.out);
  const run = JSON.parse(String(file(out, 'run.json')));
  assert.equal(run.flags.start, 'zero');
  delete run.flags.start;
  delete run.sae_pipe.start;
  writeFileSync(join(out, 'run.json'), JSON.stringify(run));
  for (const name of readdirSync(out)) if (name.startsWith('checkpoint-')) withoutStart(join(out, name));
  await assert.rejects(again(out, { start: 'sparse' }), UsageRefusal);
  await again(out);
  assert.deepEqual(weights(out), weights(whole));
  assert.equal(settingsOf(out).start, 'zero');
});

test('a flag that differs is refused by name, where it may not change, and nothing changes', async () => {
  const given = flags();
  await stoppedAt(10, (stop, progress) => begin(given, stop, progress));
  const found = filesBelow(String(given.out));
  for (const more of [
    { l1: 9, lr: '0.002' },
    { arch: 'standard' },
    { 'd-sae': 101 },
    { order: 'stored' },
    { seed: 1 },
  ]) {
    await assert.rejects(again(given.out, more), (error: unknown) => {
      assert.ok(error instanceof UsageRefusal, String(error));
      for (const name of Object.keys(more)) assert.ok(error.message.includes(`--${name} `), error.message);
      return true;
    });
  }
  await assert.rejects(again(given.out, { steps: 30 }), /belongs to a run of 40 steps, but this command has 30/);
  await assert.rejects(again(join(root, 'nothing')), /contains no run to resume/);
  assert.deepEqual(filesBelow(String(given.out)), found);
  // A flag repeated with its old value is not a difference.
  await again(given.out, { ...given, lr: '1e-3' });
});

test('a finished run trained further takes the steps of a longer run from there on', async () => {
  const longer = await begin(flags({ steps: 90 }));
  const given = flags();
  await begin(given);
  await again(given.out, { steps: 70 });
  await again(given.out, { tokens: 90 * 64 });
  assert.deepEqual(weights(given.out), weights(longer));
  const steps = curveOf(String(given.out)).map(({ step }) => step);
  assert.deepEqual(
    steps,
    Array.from({ length: 18 }, (_, i) => 5 * (i + 1)),
  );
  assert.deepEqual(settingsOf(given.out).trained_further, [
    { from: 40, of: 40 },
    { from: 70, of: 70 },
  ]);
  assert.equal(settingsOf(given.out).steps, 90);
  await again(given.out);
});

test('a run that was to be trained further and was killed before its first checkpoint is complete as it was', async () => {
  const given = flags();
  await begin(given);
  const found = filesBelow(String(given.out));
  const update = (done: number) => {
    if (done > 60 * 64) throw new Error('killed');
  };
  const more = { steps: 90, 'checkpoint-every': '0' };
  await assert.rejects(again(given.out, more, never, { ...silent, update }), /killed/);
  assert.ok(curveOf(String(given.out)).at(-1)!.step > 40);
  const torn = `${file(given.out, 'metrics.jsonl')}{"step":`;
  writeFileSync(join(String(given.out), 'metrics.jsonl'), torn);
  writeFileSync(join(String(given.out), 'run.json.0123456789abcdef.tmp'), '{');
  await again(given.out, { steps: 40 });
  const left = filesBelow(String(given.out));
  // run.json has the steps that it is to be trained to.
  for (const files of [found, left]) files.delete('run.json');
  assert.deepEqual(left, found);
  assert.deepEqual(weights(await again(given.out, { steps: 90 })), weights(await begin(flags({ steps: 90 }))));
});

test('trained further, the warm-up stays what it was, and a fall of the learning rate is at the new end', async () => {
  const given = flags({ warmup: 1000, 'lr-decay': 'linear', 'decay-steps': 10, 'log-every': 1 });
  await begin(given);
  await again(given.out, { steps: 80 });
  const lr = curveOf(String(given.out)).map((line) => line.lr);
  // A tenth of the first 40 steps, not of 80.
  assert.deepEqual([lr[3], lr[29]], [0.001, 0.001]);
  assert.ok(lr[39]! < 1e-9 && lr[79]! < 1e-9, 'both ends fell');
  assert.deepEqual([lr[40], lr[69]], [0.001, 0.001]);
});

test('killed while it is trained further, a run resumes; its SAE stays as it was until the new one is complete', async () => {
  const longer = await begin(flags({ steps: 90 }));
  const given = flags();
  await begin(given);
  const [cfg, before] = [file(given.out, 'cfg.json'), weights(given.out)];
  const watched = new SettingsFile(String(given.out));
  await watched.update();
  assert.deepEqual([watched.settings.finished, watched.settings.steps], [true, 40]);
  await stoppedAt(55, (stop, progress) => again(given.out, { steps: 90 }, stop, progress));
  assert.deepEqual([file(given.out, 'cfg.json'), weights(given.out)], [cfg, before]);
  await watched.update();
  assert.deepEqual([watched.settings.finished, watched.settings.steps], [false, 90]);
  // As a kill between the removal of the old cfg.json and the new one leaves it.
  rmSync(join(String(given.out), 'cfg.json'));
  await again(given.out);
  assert.deepEqual(weights(given.out), weights(longer));
});

test('--discard-state keeps nothing to train further from; --resume alone succeeds, more steps are refused', async () => {
  const given = flags({ 'discard-state': true });
  await begin(given);
  const found = filesBelow(String(given.out));
  assert.deepEqual([...found.keys()], ['cfg.json', 'metrics.jsonl', 'sae_weights.safetensors']);
  // Neither the store nor the flags are needed to see that the work is done.
  renameSync(activations, `${activations}-away`);
  try {
    await again(given.out);
    await assert.rejects(again(given.out, { steps: 90 }), /state .* was not kept/);
    await assert.rejects(again(given.out, { l1: 9 }), /l1 = 4, but this command has 9/);
  } finally {
    renameSync(`${activations}-away`, activations);
  }
  await assert.rejects(again(given.out, { activations, steps: 90 }), /state .* was not kept/);
  assert.deepEqual(filesBelow(String(given.out)), found);
  assert.ok(existsSync(join(String(given.out), 'cfg.json')));
});

test('a running model plans its rows for the given steps, and its run is not trained further', async () => {
  const source = {
    model: 'assets/tiny-gemma',
    corpus: ['assets/corpus/validation.jsonl.gz'],
    hook: 'blocks.0.hook_mlp_out',
  };
  const given: Partial<TrainConfig> = {
    ...{ ...source, context: 64, dSae: 30, batch: 64, steps: 4, poolRows: 300, threads: 1, out: join(root, 'live') },
  };
  await train(trainSchema.parse(given), silent, never);
  await assert.rejects(again(given.out, { steps: 6 }), /with a stream or --model, training cannot go beyond them/);
  await again(given.out);
});
