import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { logged, refused } from '../cli/refused.js';
import { temporaryDirectory } from '../temporary.js';
import {
  evalWords,
  HOOK,
  harvestWords,
  made,
  nothingHalfWritten,
  resultsBelow,
  succeeds,
  trainWords,
} from './commands.js';
import { operationsOf, runOnFailingDisk } from './run-on-failing-disk.js';

/** `SAE_PIPE_LONG=1 node --test dist/test/faults/failing-writes.test.js` lets every single operation fail. */
const LONG = process.env.SAE_PIPE_LONG === '1';
/** Otherwise this many operations of each command, the first and the last among them. */
const POINTS = 2;
const onDemand = { skip: LONG ? false : 'with SAE_PIPE_LONG=1' };

const root = temporaryDirectory();
const { store, sae, evaluated } = await made();

function pointsOf(operations: number): number[] {
  if (LONG) return Array.from({ length: operations }, (_, i) => i + 1);
  const step = (operations - 1) / (POINTS - 1);
  return [...new Set(Array.from({ length: POINTS }, (_, i) => Math.round(1 + i * step)))];
}

/**
 * Lets a command's writes fail from its first, second, … operation on; then there is room again.
 *
 * @param words the command, whose results all lie below the directory it is given
 * @param again added to resume
 */
async function failsAnywhere(name: string, words: (directory: string) => string[], again: readonly string[] = []) {
  const disk = (directory: string, failAt: number, code: string) => ({
    below: directory,
    failAt,
    code,
    report: join(root, `${name}.count`),
  });
  const placed = (directory: string) => {
    mkdirSync(directory);
    return directory;
  };
  const whole = placed(join(root, `${name}-whole`));
  const undisturbed = disk(whole, Number.MAX_SAFE_INTEGER, '');
  const outcome = await runOnFailingDisk(undisturbed, words(whole));
  assert.equal(outcome.code, 0, outcome.stderr);
  const operations = operationsOf(undisturbed);
  assert.ok(operations >= 4, `${operations} operations: is the program writing through what is patched?`);
  // The directory's name must not be in what is compared.
  const named = (directory: string) =>
    new Map([...resultsBelow(directory)].map(([file, text]) => [file, text.replaceAll(directory, 'DIRECTORY')]));
  const expected = named(whole);
  for (const point of pointsOf(operations)) {
    const directory = placed(join(root, `${name}-${point}`));
    const full = point % 2 === 1;
    const failing = disk(directory, point, full ? 'ENOSPC' : 'EIO');
    const failed = await runOnFailingDisk(failing, logged(words(directory)));
    const codes = full ? (['disk/full'] as const) : (['disk/not-written', 'disk/unconfirmed'] as const);
    // A sweep names the causes of its failed runs under one code.
    const sweeps = name === 'sweep' ? (['sweep/runs-failed'] as const) : [];
    refused(failed, [...codes, ...sweeps], directory, full ? 'disk is full' : /EIO on \w+/);
    nothingHalfWritten(directory, expected, named(directory));
    const resumed = await succeeds([...words(directory), ...again]);
    assert.doesNotMatch(resumed.stderr, /sae-pipe:/);
    assert.deepEqual([...named(directory).keys()], [...expected.keys()], `${name}, operation ${point}`);
    for (const [file, text] of named(directory)) {
      assert.ok(text === expected.get(file), `${file} differs after ${name} failed at operation ${point}`);
    }
  }
}

test('harvest: whatever write fails, nothing half stays, and --resume ends in the same bytes', () =>
  failsAnywhere('harvest', (directory) => harvestWords(join(directory, 'acts')), ['--resume']));

test('train: the same', onDemand, () =>
  failsAnywhere('train', (directory) => trainWords(store, join(directory, 'sae')), ['--resume']),
);

test('eval: whatever write fails, nothing stays, and the same command succeeds', onDemand, () =>
  failsAnywhere('eval', (directory) => evalWords(sae, join(directory, 'eval'))),
);

test('export: the same', () =>
  failsAnywhere('export', (directory) => [
    'export',
    '--sae',
    sae,
    '--as',
    'jumprelu',
    '--out',
    join(directory, 'out'),
  ]));

test('report and figure: the same', onDemand, async () => {
  await failsAnywhere('report', (directory) => ['report', evaluated, '--out', join(directory, 'a.html')]);
  await failsAnywhere('figure', (directory) => ['figure', 'jump-relu', '--out', join(directory, 'a.svg')]);
});

test('sweep: whatever write fails, the same command ends in the same bytes', onDemand, async () => {
  const file = join(root, 'sweep.yaml');
  const text = 'model: assets/tiny-gemma, corpus: assets/corpus/validation.jsonl.gz';
  writeFileSync(
    file,
    `harvest: {${text}, hook: ${HOOK}, tokens: 2000, context: 128, rows-per-shard: 1000}
train: {steps: 10, batch: 64, d-sae: 100, lr: 0.001, log-every: 5}
sweep: {runs: [{arch: gated, l1: [2, 6]}]}
eval: {${text}, tokens: 300}
`,
  );
  await failsAnywhere('sweep', (directory) => ['sweep', '--config', file, '--out', join(directory, 'out')]);
  assert.ok(existsSync(join(root, 'sweep-whole', 'out', 'report.html')));
});
