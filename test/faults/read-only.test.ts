import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { logged, refused } from '../cli/refused.js';
import { run } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { evalWords, harvestWords, made, trainWords } from './commands.js';

const { store, sae, evaluated } = await made();

/** A directory that nobody may write to, root included; undefined, with the test skipped, if there can be none. */
function readOnly(t: TestContext): string | undefined {
  let mounted = false;
  t.after(() => mounted && spawnSync('umount', ['-l', place]));
  const place = temporaryDirectory(t);
  mkdirSync(join(place, 'empty'));
  const mount = (...args: string[]) => spawnSync('mount', args).status === 0;
  mounted = mount('--bind', place, place);
  if (mounted && mount('-o', 'remount,bind,ro', place)) return place;
  t.skip('nothing can be mounted read-only here');
  return undefined;
}

test('a read-only place is refused before the work, by every command', async (t) => {
  const place = readOnly(t);
  if (!place) return;
  const commands: Record<string, (out: string) => string[]> = {
    harvest: harvestWords,
    train: (out) => trainWords(store, out),
    eval: (out) => evalWords(sae, out),
    export: (out) => ['export', '--sae', sae, '--as', 'jumprelu', '--out', out],
  };
  for (const [name, words] of Object.entries(commands)) {
    for (const out of [join(place, 'empty'), join(place, 'new'), join(place, 'new', 'and', 'deep')]) {
      const outcome = await run(...logged(words(out)));
      refused(outcome, 'disk/not-writable', out, 'EROFS', '--out');
      // Nothing was begun: no line but the refusal.
      assert.equal(outcome.stderr.trim().split('\n').length, 1, `${name}: ${outcome.stderr}`);
    }
  }
  for (const words of [
    ['report', evaluated, '--out'],
    ['figure', 'jump-relu', '--out'],
  ]) {
    for (const page of [join(place, 'a.html'), join(place, 'new', 'a.html')]) {
      refused(await run(...logged([...words, page])), 'disk/not-writable', place, 'EROFS', '--out');
    }
  }
  assert.deepEqual(readdirSync(place, { recursive: true }), ['empty']);
});
