import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { run } from '../cli/run-program.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { killAgainAndAgain, LONG } from './kills.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const KILLS = LONG ? 12 : 2;
const root = temporaryDirectory();
const evaluation = (tokens: number) => [
  ...['eval', '--sae', join(root, 'sae'), '--sae', join(root, 'sae'), '--model', 'assets/tiny-gemma'],
  ...['--corpus', 'assets/corpus/validation.jsonl.gz', '--context', '64', '--tokens', `${tokens}`],
];
const whole = join(root, 'whole');
let life = 0;

before(async () => {
  const activations = await tinyActivations(root);
  const size = ['--d-sae', '200', '--batch', '64', '--steps', '30', '--log-every', '1'];
  const trained = await run('train', '--activations', activations, ...size, '--out', join(root, 'sae'));
  assert.equal(trained.code, 0, trained.stderr);
  const began = performance.now();
  const { code, stderr } = await run(...evaluation(600), '--out', whole);
  assert.equal(code, 0, stderr);
  life = performance.now() - began;
});

const killed = (command: (out: string) => readonly string[], afterKill: (out: string) => void) => ({
  command,
  progress: (_: string, milliseconds: number) => milliseconds,
  whole: life,
  life,
  afterKill,
  atEnd: (out: string) => assert.deepEqual(filesBelow(out), filesBelow(whole)),
});

test(`an evaluation, killed ${KILLS} times, has no eval.json before its end, and the same command completes it`, async () => {
  const directory = join(root, 'begun');
  mkdirSync(directory);
  const check = (out: string) => {
    if (!existsSync(join(out, 'eval.json'))) return;
    assert.deepEqual(filesBelow(out).get('eval.json'), filesBelow(whole).get('eval.json'));
  };
  await killAgainAndAgain(
    killed((out) => [...evaluation(600), '--out', out], check),
    KILLS,
    directory,
    new Generator(5),
  );
});

test(
  'an evaluation that is overwritten is the old one or the new one whenever it is killed, or none',
  onDemand,
  async () => {
    const directory = join(root, 'again');
    mkdirSync(directory);
    const old = join(root, 'old');
    const { code, stderr } = await run(...evaluation(200), '--out', old);
    assert.equal(code, 0, stderr);
    // As many as there may be rounds.
    for (let round = 0; round < KILLS + 5; round++)
      cpSync(old, join(directory, `killed-${round}`), { recursive: true });
    const [before, after] = [old, whole].map((path) => filesBelow(path).get('eval.json')!);
    const check = (out: string) => {
      const found = filesBelow(out).get('eval.json');
      assert.ok(!found || found.equals(before!) || found.equals(after!));
    };
    await killAgainAndAgain(
      killed((out) => [...evaluation(600), '--out', out, '--overwrite'], check),
      KILLS / 2,
      directory,
      new Generator(6),
    );
  },
);
