import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from '../temporary.js';

const PROGRAM = 'bin/sae-pipe.js';

/** Runs the program under a Node that claims another version. */
function runAs(version: string) {
  const pretend = join(temporaryDirectory(), 'pretend.cjs');
  execFileSync(process.execPath, [
    '-e',
    `fs.writeFileSync(${JSON.stringify(pretend)}, "Object.defineProperty(process.versions, 'node', { value: '${version}' })")`,
  ]);
  return spawnSync(process.execPath, ['--require', pretend, PROGRAM, '--version'], { encoding: 'utf8' });
}

test('a Node older than package.json requires is refused in one line, and nothing is run', () => {
  const { engines } = JSON.parse(readFileSync('package.json', 'utf8')) as { engines: { node: string } };
  const [major, minor] = engines.node.match(/\d+/g)!.map(Number) as [number, number];
  for (const version of ['0.12.18', '12.22.12', '18.20.8', minor ? `${major}.${minor - 1}.9` : `${major - 1}.9.0`]) {
    const { status, stdout, stderr } = runAs(version);
    assert.deepEqual([status, stdout], [1, ''], version);
    assert.match(
      stderr,
      new RegExp(`^sae-pipe: [^\\n]*Node\\.js ${major}[^\\n]* ${version.replaceAll('.', '\\.')}\\.[^\\n]*\\n$`),
    );
  }
  for (const version of [`${major}.${minor ?? 0}.0`, `${major + 1}.0.0`, '100.0.0']) {
    assert.equal(runAs(version).status, 0, version);
  }
});

test('the file that an older Node reads holds nothing newer than ES5, and loads only package.json before the check', () => {
  const text = readFileSync(PROGRAM, 'utf8').replace(/^\s*\/\/.*$|\/\*[\s\S]*?\*\//gm, '');
  assert.doesNotMatch(text, /=>|`|\b(const|let|class|import|export|async|await)\b|\?\.|\?\?|\.\.\./);
  const beforeCheck = text.slice(0, text.indexOf('if ('));
  assert.deepEqual(beforeCheck.match(/require\([^)]*\)/g), ["require('../package.json')"]);
});
