import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { logged, saysRefusal } from '../cli/refused.js';
import { temporaryDirectory } from '../temporary.js';
import { evalWords, made, resultsBelow, trainWords } from './commands.js';

const root = temporaryDirectory();
const { store, sae, evaluated } = await made();

/**
 * Runs `shell`, in which "$@" is the program with `words`.
 *
 * @returns what it printed, the program's exit code last; what the program said on standard error
 */
async function inShell(shell: string, words: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  const child = spawn('bash', ['-c', shell, 'bash', process.execPath, 'bin/sae-pipe.js', ...words]);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  await once(child, 'close');
  assert.doesNotMatch(stderr, /\n\s+at |Unhandled/);
  return { stdout: stdout.trim(), stderr };
}

/** Reads nothing of what comes, once the program has started. */
const NOBODY = 'exec 0<&-; sleep 0';
const CLOSED: Record<string, string> = {
  'standard output whose reader has left': `"$@" | { ${NOBODY}; }; echo "\${PIPESTATUS[0]}"`,
  'standard error whose reader has left': `{ "$@" 2>&1 >&3 3>&- | { ${NOBODY}; }; echo "\${PIPESTATUS[0]}"; } 3>/dev/null`,
  'standard output closed': '"$@" >&-; echo "$?"',
  'standard error closed': '"$@" >/dev/null 2>&-; echo "$?"',
  'standard error on a full disk': '"$@" >/dev/null 2>/dev/full; echo "$?"',
};

for (const [name, shell] of Object.entries(CLOSED)) {
  test(`${name}: the work is done all the same`, async () => {
    const place = join(root, name.replaceAll(' ', '-'));
    // An evaluation prints a table, a training its progress.
    const evaluation = await inShell(shell, evalWords(sae, `${place}-eval`));
    assert.equal(evaluation.stdout, '0', evaluation.stderr);
    assert.deepEqual(resultsBelow(`${place}-eval`), resultsBelow(evaluated));
    const training = await inShell(shell, trainWords(store, `${place}-sae`));
    assert.equal(training.stdout, '0', training.stderr);
    assert.deepEqual(resultsBelow(`${place}-sae`), resultsBelow(sae));
    assert.equal((await inShell(shell, ['train', '--help'])).stdout, '0');
    assert.equal((await inShell(shell, ['--version'])).stdout, '0');
    // The exit code reports the failure where no message can be printed.
    assert.equal((await inShell(shell, ['train', '--nonsense'])).stdout, '2');
  });
}

test('results that standard output cannot take are reported, and files are complete', async (t) => {
  if (!existsSync('/dev/full')) return t.skip('there is no /dev/full here');
  const out = join(root, 'full');
  const { stdout, stderr } = await inShell('"$@" >/dev/full; echo "$?"', logged(evalWords(sae, out)));
  assert.equal(stdout, '1');
  saysRefusal(stderr, 'cli/output-not-written', 'ENOSPC', '--out');
  assert.deepEqual(resultsBelow(out), resultsBelow(evaluated));
});
