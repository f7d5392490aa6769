import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from '../temporary.js';
import { plantCanary } from './fuzz/canary.js';
import { GOOD, type Outcome } from './fuzz/case.js';
import { runCases } from './fuzz/runner.js';
import type { Target } from './fuzz/target.js';
import { TARGETS, targetNamed } from './fuzz/targets.js';

/**
 * Bad files: `SAE_PIPE_LONG=1 node --test dist/test/faults/fuzz.test.js` is the long form; SAE_PIPE_FUZZ_SEED=N takes
 * other cases, and SAE_PIPE_FUZZ_CASE="TARGET:INDEX" replays one of them.
 */
const LONG = process.env.SAE_PIPE_LONG === '1';
const SEED = Number(process.env.SAE_PIPE_FUZZ_SEED ?? 1);
const ONE = process.env.SAE_PIPE_FUZZ_CASE;
const CASES = LONG ? 12_000 : 250;

const shares = TARGETS.reduce((sum, { share }) => sum + share, 0);
const root = temporaryDirectory();
const canary = plantCanary(root);

/** How the cases of a target ended, e.g. "refused 90, same 10". */
function counted(outcomes: readonly Outcome[]): string {
  const endings = [...new Set(outcomes.map(({ ending }) => ending))].sort();
  return endings.map((of) => `${of} ${outcomes.filter(({ ending }) => ending === of).length}`).join(', ');
}

function check(target: Target, outcomes: readonly Outcome[]): void {
  const bad = outcomes.filter(({ ending }) => !GOOD.includes(ending));
  const replay = ({ index }: Outcome) => `SAE_PIPE_FUZZ_SEED=${SEED} SAE_PIPE_FUZZ_CASE="${target.name}:${index}"`;
  const lines = bad.map((outcome) => `${replay(outcome)} ended in ${outcome.ending}: ${outcome.says.slice(0, 1500)}`);
  assert.equal(bad.length, 0, `${bad.length} of ${outcomes.length} cases failed\n${lines.slice(0, 20).join('\n')}`);
}

if (ONE !== undefined) {
  test(`case ${ONE} of seed ${SEED}`, async (t) => {
    const at = ONE.lastIndexOf(':');
    const [target, index] = [targetNamed(ONE.slice(0, at)), Number(ONE.slice(at + 1))];
    const outcomes = await runCases(target, { root, seed: SEED, from: index, to: index + 1, canary });
    t.diagnostic(JSON.stringify(outcomes[0]));
    check(target, outcomes);
  });
} else {
  for (const target of TARGETS) {
    const cases = Math.ceil((CASES * target.share) / shares);
    test(`${cases} broken files: ${target.name} (seed ${SEED})`, async (t) => {
      mkdirSync(join(root, target.name), { recursive: true });
      const outcomes = await runCases(target, { root, seed: SEED, from: 0, to: cases, canary });
      t.diagnostic(`${target.name}: ${counted(outcomes)}`);
      assert.equal(outcomes.length, cases);
      check(target, outcomes);
    });
  }
}
