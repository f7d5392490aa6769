import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from './temporary.js';

const HEAD = "import { after, before, test } from 'node:test';\nimport assert from 'node:assert/strict';\n";

/** Files of tests below a directory, as the build leaves them. */
const FILES: Readonly<Record<string, string>> = {
  'package.json': '{"type": "module"}',
  'dist/test/shared.js': 'export const shared = { hooks: 0 };\n',
  'dist/test/waits.js': 'export const now = await Promise.resolve(1);\n',
  'dist/test/begins.js': "import { after } from 'node:test';\nafter(() => {});\n",
  // A hook of one file runs before its tests, and not before another's.
  'dist/test/room/a.test.js': `${HEAD}import { shared } from '../shared.js';
before(() => { shared.hooks += 1; });
after(() => { shared.hooks += 10; });
test('a1', () => assert.equal(shared.hooks, 1));
test('a2', () => assert.equal(shared.hooks, 1));\n`,
  'dist/test/room/b.test.js': `${HEAD}import { shared } from '../shared.js';
test('b1', () => assert.equal(shared.hooks, 11));\n`,
  'dist/test/room/c.test.js': `${HEAD}test('c1', async () => { await 0; });\n`,
  'dist/test/room/awaits.test.js': `${HEAD}if (true) {\n  await 0;\n}\ntest('d1', () => {});\n`,
  'dist/test/room/imports-wait.test.js': `${HEAD}import {\n  now,\n} from '../waits.js';\ntest('e1', () => now);\n`,
  'dist/test/room/imports-hook.test.js': `${HEAD}import '../begins.js';\ntest('f1', () => {});\n`,
  'dist/test/room/changes.test.js': `${HEAD}test('g1', () => process.chdir('/'));\n`,
  'dist/test/other/single.test.js': `${HEAD}test('h1', () => {});\n`,
};

const requires = (process.features as { require_module?: boolean }).require_module === true;
const skip = !requires && 'this Node does not require ES modules, and each file has its process';

test('files of a directory share a process where nothing shows; all their tests run', { skip }, (t) => {
  const root = temporaryDirectory(t);
  for (const [name, text] of Object.entries(FILES)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  const names = Object.keys(FILES).filter((name) => name.endsWith('.test.js'));
  const script = resolve('scripts/group-tests.mjs');
  const group = (most: number, input: readonly string[]) =>
    execFileSync(process.execPath, [script, String(most)], { cwd: root, input: input.join('\n'), encoding: 'utf8' })
      .trim()
      .split('\n');
  const together = 'dist/test/together/000-room.js';
  const room = (...files: string[]) => files.map((file) => `dist/test/room/${file}.test.js`);
  assert.deepEqual(group(8, names).sort(), [
    'dist/test/other/single.test.js',
    ...room('awaits', 'changes', 'imports-hook', 'imports-wait'),
    together,
  ]);
  // As `node --test` runs each of them; this test's own context would have it tell another way.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const run = (module: string) =>
    spawnSync(process.execPath, ['--test-reporter=tap', module], { cwd: root, env, encoding: 'utf8' });
  const { status, stdout } = run(together);
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^# tests 4$/m);
  assert.match(stdout, /^# pass 4$/m);

  // Three of a directory, two at most: as even as can be, and one alone.
  assert.deepEqual(group(2, room('a', 'b', 'c')).sort(), [...room('c'), 'dist/test/together/001-room.js']);

  // What cannot be loaded fails.
  writeFileSync(join(root, 'dist/test/room/b.test.js'), "throw new Error('broken');\n");
  const broken = run(together);
  assert.equal(broken.status, 1);
  assert.match(broken.stdout, /^# pass 3$/m);
});
