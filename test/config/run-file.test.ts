import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { RUN_FILE, readRunFlags, trainingCommand, writeRunFile } from '../../src/config/run-file.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { Refusal } from '../../src/errors/refusal.js';
import { trainingRecord } from '../../src/sae/training-record.js';
import { temporaryDirectory } from '../temporary.js';

const ACTIVATIONS = { model: 'm', hook: 'h', rows: 10, corpus: 'c', dtype: 'float16', sha256: '0' };
const SETTINGS = { l1: 2, steps: 10, activations: ACTIVATIONS };
const MADE = trainingRecord.parse({ ...SETTINGS, final: { l0: 3 } });

async function sae(t: TestContext, flags: Record<string, unknown> = {}): Promise<string> {
  const out = temporaryDirectory(t);
  const config = trainSchema.parse({ activations: 'a b', dSae: 8, l1: 2, order: 'stored', out, ...flags });
  await writeRunFile(out, { sae_pipe: { ...SETTINGS, final: {} } }, config);
  return out;
}

test('run.json next to an SAE records the command, with paths relative to where it was given', async (t) => {
  const out = await sae(t);
  assert.deepEqual(await trainingCommand(out, MADE), {
    stage: 'train',
    directory: process.cwd(),
    // Today's default for the missing flag, which this run did not have.
    words: [
      ...['--activations', 'a b', '--d-sae', '8', '--l1', '2', '--max-activation-norm-multiple', '0'],
      ...['--order', 'stored', '--out', out],
    ],
  });
});

test('no command is given if none is recorded, or if it does not make this SAE', async (t) => {
  assert.equal(await trainingCommand(temporaryDirectory(t), MADE), null);
  const out = await sae(t);
  assert.equal(await trainingCommand(out, { ...MADE, l1: 3 }), null, 'of another SAE');
  assert.equal(await trainingCommand(out, {}), null, 'of a published SAE');
  for (const activations of ['-', '/dev/fd/63']) {
    assert.equal(await trainingCommand(await sae(t, { activations }), MADE), null, activations);
  }
  const further = { trained_further: [{ from: 5, of: 5 }] };
  writeFileSync(
    join(out, RUN_FILE),
    JSON.stringify({ sae_pipe: { ...SETTINGS, ...further }, flags: {}, directory: '/' }),
  );
  assert.equal(await trainingCommand(out, { ...MADE, ...further }), null, 'two commands made it');
});

test('parts that a run was begun on are found from another directory, too', async (t) => {
  const [out, from] = [temporaryDirectory(t), temporaryDirectory(t)];
  for (const disk of ['a', 'b']) mkdirSync(join(from, disk, 'acts'), { recursive: true });
  const seen = async (activations: string) => {
    writeFileSync(join(out, RUN_FILE), JSON.stringify({ flags: { activations, arch: 'a,b' }, directory: from }));
    const flags = (await readRunFlags(out))!;
    assert.equal(flags.arch, 'a,b');
    return flags.activations;
  };
  const acts = join(from, 'a', 'acts');
  assert.equal(await seen('a/acts'), acts);
  assert.equal(await seen('a/acts,b/acts'), [acts, join(from, 'b', 'acts')].join());
  assert.equal(await seen('{a,b}/acts,a/act?'), [join(from, '{a,b}', 'acts'), join(from, 'a', 'act?')].join());
  assert.equal(await seen('/*/acts'), '/*/acts');
  // Gone from there: it may have been moved together with the run.
  for (const moved of ['c/acts', 'a/acts,c/acts', 'c/*', '-']) assert.equal(await seen(moved), moved);
});

test("a stranger's run.json is read by its schema, and never waited for", async (t) => {
  const out = temporaryDirectory(t);
  const path = join(out, RUN_FILE);
  const write = (run: unknown) => writeFileSync(path, JSON.stringify(run));
  const flags = { 'd-sae': 8, out: '/elsewhere' };
  write({ sae_pipe: SETTINGS, flags: { ...flags, 'no-such': '$(id)' }, directory: '/' });
  await assert.rejects(trainingCommand(out, MADE), Refusal);
  write({ sae_pipe: SETTINGS, flags: { 'd-sae': 'rm' }, directory: '/' });
  await assert.rejects(trainingCommand(out, MADE), Refusal);
  write({ sae_pipe: SETTINGS, flags, directory: '/', secret: 'not ours' });
  const told = await trainingCommand(out, MADE);
  assert.deepEqual(told?.words.slice(-2), ['--out', out.slice(1)], 'the SAE itself, whatever the file says');
  assert.doesNotMatch(JSON.stringify(told), /elsewhere|not ours/);
  execFileSync('rm', [path]);
  execFileSync('mkfifo', [path]);
  await assert.rejects(trainingCommand(out, MADE), Refusal);
});
