import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { STOP_SIGNALS } from '../../src/errors/refusal.js';
import { hangupIsIgnored, StopSignals } from '../../src/progress/stop.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { sleep } from './run-program.js';

/** A process that does not end is a failure, and is then killed. */
const BOUNDED = { timeout: 120_000, killSignal: 'SIGKILL' } as const;
const root = temporaryDirectory();
let activations: string;
before(async () => {
  activations = await tinyActivations(root);
});

interface Started {
  readonly pid: number;
  readonly stderr: () => string;
  readonly send: (signal: NodeJS.Signals) => void;
  readonly ended: Promise<[code: number | null, signal: NodeJS.Signals | null]>;
}

/** Starts a training that lasts, and waits until it writes its curve. */
async function training(out: string, through: readonly string[] = [], environment = {}): Promise<Started> {
  const size = ['--d-sae', '64', '--batch', '64', '--steps', '10M', '--log-every', '1', '--threads', '1'];
  const [program, ...args] = [
    ...through,
    ...[process.execPath, 'bin/sae-pipe.js', 'train', '--activations', activations, ...size, '--out', out],
  ];
  const child = spawn(program!, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    ...BOUNDED,
    env: { ...process.env, _: '/bin/sh', ...environment },
  });
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  const ended = once(child, 'close') as Started['ended'];
  while (!existsSync(join(out, 'metrics.jsonl')) || readFileSync(join(out, 'metrics.jsonl')).length === 0) {
    assert.equal(child.exitCode, null, stderr);
    await sleep(10);
  }
  return { pid: child.pid!, stderr: () => stderr, send: (signal) => child.kill(signal), ended };
}

const checkpoints = (out: string) => readdirSync(out).filter((name) => name.startsWith('checkpoint-'));

for (const signal of STOP_SIGNALS) {
  test(`${signal} ends a training with its checkpoint, advice and exit code`, async () => {
    const out = join(root, signal);
    const { send, ended, stderr } = await training(out);
    send(signal);
    assert.deepEqual(await ended, [128 + constants.signals[signal], null], stderr());
    assert.equal(checkpoints(out).length, 1);
    assert.match(stderr(), new RegExp(`Stopped \\(${signal}\\): .*--resume`));
    assert.doesNotMatch(stderr(), /[Dd]ebugger/);
  });
}

test('a command that was started with nohup outlives its terminal, and still ends by other signals', async () => {
  const out = join(root, 'nohup');
  const { send, ended, stderr } = await training(out, ['bash', '-c', 'nohup "$@"', 'bash'], { _: undefined });
  const before = readFileSync(join(out, 'metrics.jsonl')).length;
  send('SIGHUP');
  while (readFileSync(join(out, 'metrics.jsonl')).length === before) await sleep(10);
  send('SIGTERM');
  assert.deepEqual(await ended, [143, null], stderr());
  assert.match(stderr(), /Stopped \(SIGTERM\)/);
});

test('a parent that ignores the hangup, as a script under nohup does, passes that on', async () => {
  const ignoring = spawn('sh', ['-c', "trap '' HUP; echo ready; read line"], { stdio: ['pipe', 'pipe', 'ignore'] });
  await once(ignoring.stdout!, 'data');
  assert.equal(hangupIsIgnored({}, ignoring.pid), process.platform === 'linux');
  ignoring.kill('SIGKILL');
  assert.equal(hangupIsIgnored({ _: '/usr/bin/nohup' }, process.pid), true);
  assert.equal(hangupIsIgnored({ _: '/usr/bin/node' }, process.pid), false);
});

test('SIGUSR1 opens no debugger at any moment of the start', async () => {
  for (const milliseconds of [0, 20, 40, 60, 80, 120, 200, 300]) {
    const args = ['train', '--activations', activations, '--d-sae', '64', '--out', join(root, `early-${milliseconds}`)];
    const program = ['bin/sae-pipe.js', ...args, '--steps', '10M'];
    const child = spawn(process.execPath, program, { stdio: 'ignore', ...BOUNDED });
    const ended = once(child, 'close');
    await sleep(milliseconds);
    child.kill('SIGUSR1');
    // With a debugger open, it would keep training for hours.
    const [code, signal] = await ended;
    assert.ok(signal === 'SIGUSR1' || code === 128 + constants.signals.SIGUSR1, `${milliseconds}: ${code} ${signal}`);
  }
});

test('the first signal asks to stop; one that insists again ends the process, what only warns does not', () => {
  const answers = (...received: [NodeJS.Signals, number][]) => {
    const stop = new StopSignals();
    return received.map(([signal, at]) => stop.receive(signal as (typeof STOP_SIGNALS)[number], at));
  };
  assert.deepEqual(answers(['SIGINT', 0], ['SIGINT', 1000]), ['stop', 'end']);
  assert.deepEqual(answers(['SIGTERM', 0], ['SIGINT', 10]), ['stop', 'end']);
  // npx passes on the Ctrl-C that the terminal has already sent.
  assert.deepEqual(answers(['SIGINT', 0], ['SIGINT', 5], ['SIGINT', 900]), ['stop', 'stopping', 'end']);
  // A closed terminal and its shell; the limit on processor time; Slurm's warning before the end.
  assert.deepEqual(answers(['SIGHUP', 0], ['SIGHUP', 1000]), ['stop', 'stopping']);
  assert.deepEqual(answers(['SIGXCPU', 0], ['SIGXCPU', 1000], ['SIGXCPU', 2000]), ['stop', 'stopping', 'stopping']);
  assert.deepEqual(answers(['SIGUSR1', 0], ['SIGTERM', 9e4], ['SIGTERM', 9.1e4]), ['stop', 'stopping', 'end']);
  const stop = new StopSignals();
  stop.receive('SIGUSR1', 0);
  stop.receive('SIGTERM', 1);
  assert.equal(stop.signal, 'SIGUSR1');
});
