import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { ActivationBatches } from '../../src/activations/batches.js';
import { openStore } from '../../src/activations/store.js';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { Interrupted, Refusal, UsageRefusal } from '../../src/errors/refusal.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { train } from '../../src/train/train.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { curveOf, tinyActivations } from '../train/tiny-activations.js';
import { interrupted } from './resumes.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let activations: string;
let counter = 0;

before(async () => {
  activations = await tinyActivations(root);
});

const configured = (more: Partial<TrainConfig> = {}): TrainConfig =>
  trainSchema.parse({
    activations,
    dSae: 300,
    steps: 40,
    batch: 128,
    lr: 1e-3,
    logEvery: 7,
    deadWindow: 1000,
    out: join(root, String(counter++)),
    ...more,
  });

const checkpointsIn = (directory: string) => readdirSync(directory).filter((name) => name.startsWith('checkpoint-'));

/** What a run leaves, without the flags of its command and the one figure that depends on the clock. */
function outcome(directory: string) {
  const files = filesBelow(directory);
  files.delete('metrics.jsonl');
  files.delete('run.json');
  return { files, curve: curveOf(directory).map(({ tokens_per_second: _, ...line }) => line) };
}

async function stoppedAfterOneStep(config: TrainConfig): Promise<void> {
  const stop: StopRequest = { signal: undefined };
  const update = (done: number) => {
    if (done > 0) stop.signal = 'SIGINT';
  };
  await assert.rejects(train(config, { ...silent, update }, stop), Interrupted);
}

for (const arch of ['gated', 'standard'] as const) {
  test(`training a ${arch} SAE lowers its loss, keeps unit decoder rows and writes a curve`, async () => {
    const directory = await train(configured({ arch, steps: 200 }), silent, never);
    const sae = await readSae(await openSae(directory));
    for (let j = 0; j < 300; j++) {
      assert.ok(Math.abs(Math.hypot(...sae.parameters.W_dec!.subarray(j * 192, (j + 1) * 192)) - 1) < 1e-5);
    }
    const curve = curveOf(directory);
    assert.deepEqual(curve.map(({ step }) => step).slice(0, 3), [7, 14, 21]);
    assert.equal(curve.at(-1)!.step, 200);
    assert.equal(curve.at(-1)!.tokens, 200 * 128);
    assert.ok(curve.at(-1)!.loss < 0.75 * curve[0]!.loss, `${curve[0]!.loss} → ${curve.at(-1)!.loss}`);
    for (const { loss, mse, l1, aux } of curve) assert.ok(Math.abs(loss - mse - l1 - aux) < 1e-9 * loss);
    assert.deepEqual(
      [...filesBelow(directory).keys()],
      ['cfg.json', 'checkpoint-00000200.safetensors', 'metrics.jsonl', 'run.json', 'sae_weights.safetensors'],
    );
  });
}

test('the same seed gives the same bytes, another seed others', async () => {
  const [a, b, c] = [
    await train(configured(), silent, never),
    await train(configured(), silent, never),
    await train(configured({ seed: 1 }), silent, never),
  ];
  assert.deepEqual(outcome(b), outcome(a));
  assert.notDeepEqual(outcome(c).files.get('sae_weights.safetensors'), outcome(a).files.get('sae_weights.safetensors'));
});

for (const beta1 of [0, 0.9]) {
  test(`interrupted and resumed with β1 = ${beta1}, a run gives the bytes of an undisturbed one`, async () => {
    const whole = outcome(await train(configured({ beta1 }), silent, never));
    const config = configured({ beta1 });
    for (const steps of [1, 9, 18, 33]) {
      await interrupted({ ...config, resume: steps > 1 }, steps);
      assert.ok(!existsSync(join(config.out, 'cfg.json')), 'an unfinished run must not look like an SAE');
    }
    await train({ ...config, resume: true }, silent, never);
    assert.deepEqual(outcome(config.out), whole);
  });
}

test('--checkpoint-every leaves a checkpoint that resumes to the same bytes after a crash', async () => {
  const whole = outcome(await train(configured(), silent, never));
  const config = configured({ checkpointEvery: '10' });
  // A progress display that fails stands for a crash between two checkpoints, without any farewell.
  const crashing = {
    ...silent,
    update(done: number) {
      // After the line of step 35, which the checkpoint of step 30 does not know.
      if (done > 37 * 128) throw new Error('crash');
    },
  };
  await assert.rejects(train(config, crashing, never), /crash/);
  assert.deepEqual(checkpointsIn(config.out), ['checkpoint-00000020.safetensors', 'checkpoint-00000030.safetensors']);
  await train({ ...config, resume: true }, silent, never);
  assert.deepEqual(outcome(config.out), whole);
});

test('the newest --keep-checkpoints are kept, and a damaged one is skipped for the one before', async () => {
  const whole = outcome(await train(configured(), silent, never));
  const config = configured({ checkpointEvery: '5', keepCheckpoints: 3 });
  const crashing = {
    ...silent,
    update(done: number) {
      if (done > 22 * 128) throw new Error('crash');
    },
  };
  await assert.rejects(train(config, crashing, never), /crash/);
  const kept = [10, 15, 20].map((step) => `checkpoint-000000${step}.safetensors`);
  assert.deepEqual(checkpointsIn(config.out), kept);
  truncateSync(join(config.out, kept[2]!), 3000);
  const said: string[] = [];
  await train({ ...config, resume: true }, { ...silent, say: (line) => said.push(line) }, never);
  assert.match(
    said.join('\n'),
    /checkpoint-00000020\.safetensors is not a complete .* Resuming from checkpoint-00000015/,
  );
  assert.deepEqual(outcome(config.out), whole);
});

test('a resumed run with another setting is refused and shows the difference', async () => {
  const config = configured();
  await stoppedAfterOneStep(config);
  await assert.rejects(train({ ...config, resume: true, l1: 9 }, silent, never), /l1 = 4, but this command has 9/);
  await assert.rejects(
    train({ ...config, resume: true, l1: 9, lr: 1e-4 }, silent, never),
    /l1 = 4, but this command has 9; lr = 0\.001, but this command has 0\.0001/,
  );
  const checkpoint = join(config.out, checkpointsIn(config.out)[0]!);
  writeFileSync(checkpoint, readFileSync(checkpoint).subarray(0, 5000));
  await assert.rejects(
    train({ ...config, resume: true }, silent, never),
    /checkpoint-00000001\.safetensors is not a complete/,
  );
});

test('a stop before the first step leaves nothing, and the checkpoint where there is one', async () => {
  const config = configured();
  await assert.rejects(
    train(config, silent, { signal: 'SIGINT' }),
    /nothing was started yet; rerun the same command to start it/,
  );
  assert.ok(!existsSync(config.out));
  await stoppedAfterOneStep(config);
  const before = filesBelow(config.out);
  await assert.rejects(train({ ...config, resume: true }, silent, { signal: 'SIGTERM' }), /step 1 of .* --resume/);
  assert.deepEqual(filesBelow(config.out), before);
});

test('--resume begins if there is nothing yet, and leaves a finished SAE of the same settings as it is', async () => {
  const config = configured({ resume: true });
  await train(config, silent, never);
  const finished = filesBelow(config.out);
  // As a kill just before the end leaves it.
  writeFileSync(join(config.out, 'checkpoint-00000030.safetensors'), 'of no use any more');
  await train(config, silent, never);
  assert.deepEqual(filesBelow(config.out), finished);
  await assert.rejects(train({ ...config, lr: 5e-4 }, silent, never), /lr = 0\.001, but this command has 0\.0005/);
  assert.deepEqual(filesBelow(config.out), finished);
});

test('a run that dies before its first checkpoint is begun again by --resume', async () => {
  const whole = outcome(await train(configured(), silent, never));
  const config = configured();
  const crashing = {
    ...silent,
    update(done: number) {
      if (done > 9 * 128) throw new Error('crash');
    },
  };
  await assert.rejects(train(config, crashing, never), /crash/);
  await train({ ...config, resume: true }, silent, never);
  assert.deepEqual(outcome(config.out), whole);
});

test('while a run is unfinished, run.json has what cfg.json will have except results', async () => {
  const config = configured();
  await stoppedAfterOneStep(config);
  assert.deepEqual(
    [...filesBelow(config.out).keys()],
    ['checkpoint-00000001.safetensors', 'metrics.jsonl', 'run.json'],
  );
  const jsonOf = (name: string) => JSON.parse(readFileSync(join(config.out, name), 'utf8'));
  const unfinished = jsonOf('run.json');
  assert.equal(unfinished.sae_pipe.steps, 40);
  await train({ ...config, resume: true }, silent, never);
  const { final, ...settings } = jsonOf('cfg.json').metadata.sae_pipe;
  assert.equal(final.step, 40);
  const { model_name, hook_name } = jsonOf('cfg.json').metadata;
  assert.deepEqual(unfinished.sae_pipe, { ...settings, final: {} });
  assert.deepEqual(jsonOf('run.json'), unfinished);
  assert.deepEqual([unfinished.model_name, unfinished.hook_name], [model_name, hook_name]);
});

test('--overwrite keeps the old SAE when the new run cannot start', async () => {
  const config = configured({ steps: 1 });
  await train(config, silent, never);
  const before = filesBelow(config.out);
  const again = { ...config, overwrite: true };
  await assert.rejects(train({ ...again, device: 'cuda' }, silent, never), /Device cuda/);
  await assert.rejects(train({ ...again, dSae: 1_000_000_000 }, silent, never), /needs .*iB of memory/);
  assert.deepEqual(filesBelow(config.out), before);
});

test('batches of one train, are interrupted and resumed', async () => {
  const config = configured({ batch: 1, steps: 20, logEvery: 1 });
  await interrupted(config, 7);
  await train({ ...config, resume: true }, silent, never);
  assert.equal(curveOf(config.out).at(-1)!.explained_variance, null);
});

test('--init starts from the saved SAE at the training scale', async () => {
  const first = await train(configured({ steps: 30 }), silent, never);
  // A learning rate too small to move a float32 gives the SAE back.
  const again = await train(configured({ init: first, steps: 1, lr: 1e-30 }), silent, never);
  const [a, b] = [await readSae(await openSae(first)), await readSae(await openSae(again))];
  for (const name of ['W_enc', 'b_dec', 'b_gate', 'b_mag', 'r_mag'] as const) {
    for (const [i, value] of b.parameters[name]!.entries()) {
      assert.ok(Math.abs(value - a.parameters[name]![i]!) <= 1e-6 * Math.abs(value) + 1e-12, name);
    }
  }
});

test('training on scaled activations is training without scaling on activations that were scaled before', async () => {
  // With --normalize none the scale is 1 and λ is in units of raw activations: λ·s in place of λ gives s² the loss.
  const { manifest } = await openStore(activations);
  const s = Math.sqrt(192) / manifest.mean_norm!;
  const scaled = await train(configured({ steps: 1, batch: 512, normalize: 'mean-norm' }), silent, never);
  const raw = await train(configured({ steps: 1, batch: 512, normalize: 'none', l1: 4 / s }), silent, never);
  const [a, b] = [curveOf(scaled)[0]!, curveOf(raw)[0]!];
  for (const name of ['mse', 'l1', 'aux'] as const) {
    assert.ok(Math.abs(b[name] * s * s - a[name]) < 1e-5 * a[name], `${name}: ${a[name]} and ${b[name] * s * s}`);
  }
  assert.equal(a.l0, b.l0);
});

test('shuffled training sees each activation once per epoch', async () => {
  const store = await openStore(activations);
  const batches = new ActivationBatches(store, 'shuffled', 0);
  const { x: first } = await batches.next(4000);
  const { x: ordered } = await new ActivationBatches(store, 'stored', 0).next(4000);
  const rows = (array: ArrayLike<number>) =>
    Array.from({ length: 4000 }, (_, i) => Array.from({ length: 192 }, (_, j) => array[i * 192 + j]).join());
  assert.deepEqual(rows(first).sort(), rows(ordered).sort());
  assert.notDeepEqual(rows(first), rows(ordered));
});

test('what does not fit is refused before training, and nothing is written', async () => {
  const narrow = await train(configured({ dSae: 10, steps: 1 }), silent, never);
  for (const [more, kind, message] of [
    [{ steps: 5, tokens: 100 }, UsageRefusal, /exclude each other/],
    [{ steps: undefined, tokens: 127 }, UsageRefusal, /do not fill a batch of 128/],
    [{ arch: 'standard', dSae: 10, init: narrow }, Refusal, /architecture gated, but this run has standard/],
    [{ init: narrow }, Refusal, /d_sae 10, but this run has 300/],
    [{ init: root }, Refusal, /is not an SAE directory/],
    [{ activations: root }, Refusal, /is not an activation store/],
    [{ device: 'tpu' }, UsageRefusal, /"tpu" is not a device/],
  ] as const) {
    const config = configured(more as Partial<TrainConfig>);
    await assert.rejects(train(config, silent, never), (error: unknown) => {
      assert.ok(error instanceof kind, String(error));
      assert.match((error as Error).message, message);
      return true;
    });
    assert.ok(!existsSync(config.out));
  }
});

test('a finished SAE is refused without --overwrite', async () => {
  const config = configured({ steps: 1 });
  await train(config, silent, never);
  await assert.rejects(train(config, silent, never), /exists and is not empty/);
  await train({ ...config, overwrite: true }, silent, never);
});

test('an exploding learning rate stops the run at the step, without an SAE', async () => {
  const config = configured({ lr: 1e30, beta1: 0.9, steps: 50 });
  await assert.rejects(
    train(config, silent, never),
    /After step 1 \(learning rate .*exp\(r_mag\) of feature \d+ overflows/,
  );
  assert.ok(!existsSync(join(config.out, 'cfg.json')));
});

test('a checkpoint with impossible content is skipped, or refused if it is the only one', async () => {
  const config = configured({ checkpointEvery: '5', keepCheckpoints: 2 });
  await interrupted(config, 12);
  const [before, newest] = checkpointsIn(config.out).map((name) => join(config.out, name)) as [string, string];
  const [older, whole] = [readFileSync(before), readFileSync(newest)];
  const changed = (from: string, to: string) => Buffer.from(whole.toString('latin1').replace(from, to), 'latin1');
  for (const [from, to] of [
    ['"estimates":"{', '"estimates":"['],
    ['"meanNorm', '"meanNorn'],
    ['\\"mse\\":', '\\"msx\\":'],
    ['"v/W_enc"', '"v/W_xnc"'],
    ['"steps":"', '"steps":"0'],
  ] as const) {
    // Of the same length, so that the file stays whole; where a digit comes in, one goes.
    const bytes =
      to.length === from.length ? changed(from, to) : changed(/"steps":"\d+/.exec(String(whole))![0], '"steps":"99');
    assert.notDeepEqual(bytes, whole, from);
    writeFileSync(newest, bytes);
    writeFileSync(before, older);
    const said: string[] = [];
    const resume = { ...config, resume: true };
    const listening = { ...silent, say: (line: string) => said.push(line) };
    await assert.rejects(train(resume, listening, { signal: 'SIGINT' }), Interrupted);
    assert.match(said.join(), /Resuming from/, from);
    for (const name of checkpointsIn(config.out)) rmSync(join(config.out, name));
    writeFileSync(newest, bytes);
    await assert.rejects(train(resume, silent, never), (error: unknown) => {
      assert.ok(error instanceof Refusal && error.message.includes(newest), String(error));
      return true;
    });
  }
});
