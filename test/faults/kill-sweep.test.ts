import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { run } from '../cli/run-program.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { countBelow, killAgainAndAgain, LONG, linesOf, timeless } from './kills.js';

const KILLS = LONG ? 24 : 1;
const STEPS = LONG ? 120 : 60;
const HOOK = 'blocks.1.hook_mlp_out';
const RUNS = ['gated_d-sae-200_l1-2_seed-0', 'standard_d-sae-250_l1-3_seed-0'];

const root = temporaryDirectory();
const file = join(root, 'sweep.yaml');
writeFileSync(
  file,
  `harvest: {model: assets/tiny-gemma, corpus: assets/corpus/validation.jsonl.gz, hook: ${HOOK}, tokens: 2000, context: 64, rows-per-shard: 200, window-rows: 1000}
train: {steps: ${STEPS}, batch: 64, lr: 0.001, log-every: 1, checkpoint-every: '7', dead-window: 300, resample-at: [20], resample-inputs: 900}
sweep: {seed: 0, runs: [{arch: gated, d-sae: 200, l1: 2}, {arch: standard, d-sae: 250, l1: 3}]}
eval: {model: assets/tiny-gemma, corpus: assets/corpus/validation.jsonl.gz, tokens: 300}
report: {title: A sweep}
`,
);

/** Everything that a sweep made, in which only the directory's name and figures of the clock differ. */
function results(out: string): Map<string, string> {
  const text = (bytes: Buffer) => timeless(bytes.toString('latin1')).replaceAll(out, 'OUT');
  return new Map([...filesBelow(out)].map(([name, bytes]) => [name, text(bytes)]));
}

function progress(out: string): number {
  const lines = RUNS.map((name) => linesOf(join(out, 'saes', HOOK, name, 'metrics.jsonl')));
  const files = countBelow(out, /shard-\d+\.arrow$|eval\.json$|report\.html$/);
  // A file is worth several steps.
  return lines.reduce((sum, n) => sum + n, 0) + 10 * files;
}

test(`a sweep, killed ${KILLS} times, ends in the stores, SAEs, evaluation and report of an undisturbed run`, async () => {
  const whole = join(root, 'whole');
  const undisturbed = await run('sweep', '--config', file, '--out', whole);
  assert.equal(undisturbed.code, 0, undisturbed.stderr);
  const expected = results(whole);
  for (const name of ['report.html', 'eval/eval.json', ...RUNS.map((each) => `saes/${HOOK}/${each}/cfg.json`)]) {
    assert.ok(expected.has(name), name);
  }
  await killAgainAndAgain(
    {
      command: (out) => ['sweep', '--config', file, '--out', out],
      progress,
      whole: progress(whole),
      async afterKill(out) {
        for (const sae of RUNS.map((name) => join(out, 'saes', HOOK, name))) {
          if (existsSync(join(sae, 'cfg.json'))) await readSae(await openSae(sae));
        }
      },
      atEnd(out) {
        const found = results(out);
        assert.deepEqual([...found.keys()], [...expected.keys()]);
        for (const [name, text] of expected) assert.ok(found.get(name) === text, `${name} differs`);
      },
    },
    KILLS,
    root,
    new Generator(41),
  );
});
