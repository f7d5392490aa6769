import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RESULTS, SessionLog, type StepRecord, SUMMARY, summary } from '../../bench/gpu-session-log.js';
import { sessionSteps } from '../../bench/gpu-session-plan.js';
import { runStep, type SessionStep } from '../../bench/gpu-session-step.js';
import { temporaryDirectory } from '../temporary.js';
import { withoutCompiler } from '../train/engines/cuda/compiler.js';

/** `SAE_PIPE_LONG=1 node --test dist/test/bench/gpu-session.test.js` rehearses every step. */
const LONG = process.env.SAE_PIPE_LONG === '1';
const ONLY = ['start', 'step-float32', 'eval'];

/** The session as a user runs it; `heard` gets its output as it is printed. */
async function session(flags: readonly string[], heard = (_: string, _end: () => void) => {}) {
  const child = spawn('bash', ['scripts/gpu-session.sh', ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (data) => {
    said += data;
    heard(said, () => child.kill('SIGTERM'));
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, said };
}

test('a rehearsal that is cut short reports its results so far, and the same command does the rest', {
  skip: withoutCompiler,
}, async (t) => {
  const [out, directory] = [join(temporaryDirectory(t), 'session'), temporaryDirectory(t)];
  const flags = ['--rehearse', '--out', out, '--directory', directory, ...(LONG ? [] : ['--only', ONLY.join()])];
  const results = () => new SessionLog(out).records().map(({ step, outcome }) => `${step}: ${outcome}`);
  const cut = await session(flags, (said, end) => {
    if (said.includes('step-float32 ...')) end();
  });
  assert.equal(cut.code, 143, cut.said);
  const before = results();
  assert.equal(before.at(-1), 'step-float32: cut');
  assert.ok(before.includes('start: done'), before.join());
  assert.match(readFileSync(join(out, SUMMARY), 'utf8'), /\| start \| done \|[\s\S]*\| step-float32 \| cut \|/);

  const rest = await session(flags);
  assert.equal(rest.code, 0, rest.said);
  const all = sessionSteps({ rehearsal: true, directory, python: '', peer: false });
  const records = new SessionLog(out).records();
  for (const { name, needs } of all) {
    const last = records.findLast(({ step }) => step === name);
    if (!LONG && !ONLY.includes(name)) assert.equal(last, undefined, name);
    else
      assert.equal(
        last?.outcome,
        needs.some((need) => need === 'peer' || need === 'sanitizer') ? 'left out' : 'done',
        name,
      );
  }
  // Steps finished before the cut are not repeated, except for the start that the rest is computed from.
  const again = records.slice(before.length).map(({ step }) => step);
  assert.deepEqual(
    again.filter((step) => before.includes(`${step}: done`)),
    ['start'],
  );
  const result = (step: string) =>
    records.findLast((record) => record.step === step)!.result as Record<string, unknown>;
  assert.ok((result('step-float32').ms as number[]).every((ms) => ms > 0));
  assert.ok((result('eval').ce_spliced as number[]).every((loss) => loss > 0));
});

test('where nothing can run, the session gives one reason per step and leaves nothing', async (t) => {
  const root = temporaryDirectory(t);
  const { code, said } = await session(['--out', join(root, 'session'), '--directory', root]);
  if (code !== 3) return t.skip('this machine has a GPU that can be used');
  assert.match(said, /CUDA engine cannot be used here: .+\n.*CUDA provider cannot be used here: .+\n/);
  assert.ok(!existsSync(join(root, 'session')));
});

test('a wrong flag is refused with exit code 2', async () => {
  for (const flags of [
    ['--part', '3'],
    ['--rehearse', '--only', 'nothing'],
  ]) {
    const { code, said } = await session(flags);
    assert.equal(code, 2, said);
  }
});

const step = (script: string): SessionStep => {
  return { name: 'a-step', part: 1, needs: [], limit: 60, command: [process.execPath, '-e', script] };
};

test('a step ends done, failed, or at its limit, and its output is kept', async (t) => {
  const log = new SessionLog(temporaryDirectory(t));
  const { signal } = new AbortController();
  const told = 'console.log(JSON.stringify({ ms: 3 }));';
  const ends = async (script: string, limit = 60) => {
    const { outcome, result, why } = await runStep(step(script), limit, log, signal);
    return [outcome, result, why];
  };
  assert.deepEqual(await ends(told), ['done', { ms: 3 }, undefined]);
  assert.deepEqual(await ends("console.log('a table')"), ['done', 'a table', undefined]);
  assert.deepEqual(await ends(`${told} console.log('no'); process.exit(1)`), [
    'failed',
    { ms: 3 },
    'it ended with 1: no',
  ]);
  assert.deepEqual(await ends('console.log(JSON.stringify({ error: "no GPU" }))'), [
    'failed',
    { error: 'no GPU' },
    'no GPU',
  ]);
  const [outcome, , why] = await ends('setInterval(() => {}, 1000)', 0.2);
  assert.deepEqual([outcome, why], ['too long', 'it was ended after 0 s']);
});

test('results are complete lines, with the last of each step in the summary', (t) => {
  const directory = temporaryDirectory(t);
  const log = new SessionLog(directory);
  const record: StepRecord = { step: 'a', outcome: 'failed', began: '', seconds: 1, result: null, why: 'x | y' };
  log.append(record);
  log.append({ step: 'a', outcome: 'done', began: '', seconds: 2, result: { ms: [1] } });
  assert.equal(readFileSync(join(directory, RESULTS), 'utf8').split('\n').length, 3);
  assert.ok(log.isDone('a') && !log.isDone('b'));
  assert.match(summary(log.records()), /\| a \| done \| 2\.0 \| \{"ms":\[1\]\} \|/);
  assert.match(summary([record]), /x \\\| y/);
});
