import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { logged, refused } from '../cli/refused.js';
import { temporaryDirectory } from '../temporary.js';
import { evalWords, harvestWords, made, nothingHalfWritten, resultsBelow, succeeds, trainWords } from './commands.js';
import { type Disk, operationsOf, runOnFailingDisk } from './run-on-failing-disk.js';

/** `SAE_PIPE_LONG=1 node --test dist/test/faults/unsynced-directories.test.js` lets every single sync fail. */
const LONG = process.env.SAE_PIPE_LONG === '1';

const root = temporaryDirectory();
const { store, sae, evaluated } = await made();

const onDemand = { skip: LONG ? false : 'with SAE_PIPE_LONG=1' };

/** Of `count` syncs those that are tried: the first, and that of the results, which comes last. */
const pointsOf = (count: number) => (LONG ? Array.from({ length: count }, (_, i) => i + 1) : [...new Set([1, count])]);

/**
 * Lets one sync of a directory fail, as a disk with a hiccup does: what is in place stays in place.
 *
 * @param again the command that continues, given what is written and where
 * @param result the file that says that the others are whole, and those
 */
async function failsOnce(
  name: string,
  words: (directory: string) => string[],
  again: readonly string[],
  result: readonly [string, ...string[]],
) {
  const disk = (directory: string, failAt: number): Disk => ({
    ...{ below: directory, failAt, code: 'EIO', once: true, only: ['fsync of a directory'] },
    report: join(root, `${name}.count`),
  });
  const placed = (directory: string) => {
    mkdirSync(directory);
    return directory;
  };
  const whole = placed(join(root, `${name}-whole`));
  const undisturbed = disk(whole, 0);
  assert.equal((await runOnFailingDisk(undisturbed, words(whole))).code, 0);
  const count = operationsOf(undisturbed);
  assert.ok(count >= 2, `${count} syncs: is the program writing through what is patched?`);
  const named = (directory: string) =>
    new Map([...resultsBelow(directory)].map(([file, text]) => [file, text.replaceAll(directory, 'DIRECTORY')]));
  const expected = named(whole);
  for (const point of pointsOf(count)) {
    const directory = placed(join(root, `${name}-${point}`));
    const failed = await runOnFailingDisk(disk(directory, point), logged(words(directory)));
    refused(failed, ['disk/not-written', 'disk/unconfirmed'], directory, 'EIO on fsync');
    const found = named(directory);
    nothingHalfWritten(directory, expected, found);
    const [last, ...others] = result;
    const written = [...found.keys()].find((file) => file.endsWith(last));
    if (point === count) assert.ok(written, `${last} was in place`);
    if (written) {
      for (const file of others)
        assert.ok(existsSync(join(directory, dirname(written), file)), `${last} without ${file}`);
    }
    // Without a result, nothing needs to be replaced.
    await succeeds([...words(directory), ...(written || again[0] !== '--overwrite' ? again : [])]);
    assert.deepEqual(named(directory), expected, `${name}, sync ${point}`);
  }
}

test('harvest', onDemand, () =>
  failsOnce('harvest', (to) => harvestWords(join(to, 'acts')), ['--resume'], ['manifest.json']),
);

test('train', () =>
  failsOnce(
    'train',
    (to) => trainWords(store, join(to, 'sae')),
    ['--resume'],
    ['cfg.json', 'sae_weights.safetensors'],
  ));

test('eval', () => failsOnce('eval', (to) => evalWords(sae, join(to, 'eval')), [], ['eval.json', 'training-0.jsonl']));

test('export', () =>
  failsOnce(
    'export',
    (to) => ['export', '--sae', sae, '--as', 'jumprelu', '--out', join(to, 'out')],
    [],
    ['cfg.json', 'sae_weights.safetensors'],
  ));

test('report', onDemand, () =>
  failsOnce('report', (to) => ['report', evaluated, '--out', join(to, 'pages', 'a.html')], ['--overwrite'], ['a.html']),
);

test('a file system that syncs nothing, and one whose quota is used up', async () => {
  const disk = { below: root, failAt: 1, report: join(root, 'count') };
  const out = join(root, 'unsynced');
  const only = ['fsync', 'fsync of a directory'];
  const outcome = await runOnFailingDisk({ ...disk, code: 'EINVAL', only }, trainWords(store, out));
  assert.equal(outcome.code, 0, outcome.stderr);
  assert.deepEqual(resultsBelow(out), resultsBelow(sae));
  for (const syscall of ['write', 'mkdir']) {
    const place = join(root, `quota-${syscall}`);
    const failing = { ...disk, code: 'EDQUOT', only: [syscall] };
    refused(await runOnFailingDisk(failing, logged(trainWords(store, place))), 'disk/quota', place);
    assert.ok(!existsSync(place));
  }
});
