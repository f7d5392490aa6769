import assert from 'node:assert/strict';
import { statfsSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { test } from 'node:test';
import { logged, refused, refusedUsage } from './refused.js';
import { run, startIn } from './run-program.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const MODEL = ['--model', 'assets/tiny-gemma', '--hook', 'blocks.2.hook_resid_post', '--context', '64'];

interface Json {
  node: string;
  cores: number;
  memory: { total: number; limit: number; available: number };
  disk: { path: string; free: number };
  providers: { name: string; available: boolean; reasons: string[] }[];
  model: { name: string; parameters: number; weights: { stored: number } };
  harvest: {
    hooks: { name: string; width: number }[];
    activations: number;
    store: number;
    timing: { tokensPerSecond: number; opening: number; batch: number };
    duration: number;
    devices: { device: string; needed: number }[];
    weights: number;
    memory: { total: number };
  };
  training: { parameters: number; state: number };
  checks: { fits: boolean }[];
  fits: boolean;
}

test('the bundled model fits, and JSON has the figures', async () => {
  const { code, stdout, stderr } = await run('doctor', ...MODEL, '--tokens', '100000', '--d-sae', '1024', '--json');
  assert.equal(code, 0, stderr);
  const report = JSON.parse(stdout) as Json;
  assert.equal(report.node, process.version);
  assert.equal(report.cores, availableParallelism());
  assert.equal(report.memory.total, totalmem());
  const { bavail, bsize } = statfsSync('.');
  assert.ok(Math.abs(report.disk.free / (bavail * bsize) - 1) < 0.2);
  assert.ok(report.providers.find(({ name }) => name === 'cpu')!.available);
  assert.equal(report.model.parameters, 3_344_064);
  assert.equal(report.model.weights.stored, 2 * 3_344_064);
  assert.deepEqual(report.harvest.hooks, [{ name: 'blocks.2.hook_resid_post', width: 192 }]);
  assert.equal(report.harvest.store, 100_000 * (2 * 192 + 12));
  // W_enc, W_dec, b_dec, and b_gate, b_mag, r_mag; Adam's v of each; one counter per feature.
  const parameters = 2 * 192 * 1024 + 192 + 3 * 1024;
  assert.equal(report.training.parameters, parameters);
  assert.equal(report.training.state, 4 * (2 * parameters + 1024));
  const { tokensPerSecond, opening, batch } = report.harvest.timing;
  assert.ok(tokensPerSecond > 100 && batch >= 1 && opening > 0);
  assert.ok(Math.abs(report.harvest.duration - (opening + 100_000 / tokensPerSecond)) < 1e-6);
  const whole = report.harvest.weights + report.harvest.activations;
  for (const { device, needed } of report.harvest.devices) {
    // On CUDA the weights stay in the checkpoint's own precision, which is bfloat16 here.
    if (device.startsWith('cuda')) assert.ok(needed < whole && needed > whole - report.harvest.weights);
    else assert.equal(needed, device === 'cpu' ? report.harvest.memory.total : whole, device);
  }
  assert.equal(report.checks.length, 3);
  assert.ok(report.fits && report.checks.every(({ fits }) => fits));
});

test('what does not fit ends in exit code 1, after the table or the JSON', onDemand, async () => {
  for (const [more, ...named] of [
    [['--tokens', '1e15'], 'store', '351.7 PiB', '--tokens'],
    [['--d-sae', '1000000000'], 'training', '--d-sae'],
  ] as const) {
    const outcome = await run(...logged(['doctor', ...MODEL, ...more]));
    refused(outcome, 'doctor/does-not-fit', ...named);
    assert.match(outcome.stdout, /does it fit\?\n(.*\n)*.* NO: /);
  }
  const { code, stdout } = await run('doctor', ...MODEL, '--tokens', '1e15', '--json');
  assert.equal(code, 1);
  assert.equal((JSON.parse(stdout) as Json).fits, false);
});

test('without a model, the machine alone is described', async () => {
  const { code, stdout, stderr } = await run('doctor');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^this machine\n/);
  assert.match(stdout, /\n {2}cores +\d+\n/);
  assert.match(stdout, /\n {2}cpu +ready\n/);
  assert.doesNotMatch(stdout, /does it fit/);
});

test('a hub model is read from the cache', async () => {
  const environment = { HF_HUB_CACHE: '/nowhere/hub', HF_HUB_OFFLINE: '1' };
  const outcome = await startIn(environment, ...logged(['doctor', '--model', 'google/tiny'])).outcome;
  refused(outcome, 'hub/not-cached', 'google/tiny', 'main', '/nowhere/hub');
});

test('a device that cannot be used, and flags without effect, are refused', async () => {
  refused(await run(...logged(['doctor', '--device', 'cuda:77'])), 'onnx/device-unusable', 'cuda:77');
  for (const [args, code, ...named] of [
    [['--tokens', '5'], 'doctor/flag-without-model', '--tokens', '--model'],
    [['--d-sae', '5'], 'doctor/flag-without-model', '--d-sae', '--model'],
    [['--device', 'gpu'], 'onnx/no-device', '"gpu"'],
  ] as const) {
    refusedUsage(await run(...logged(['doctor', ...args])), code, ...named);
  }
});
