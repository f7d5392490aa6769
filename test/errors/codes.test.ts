import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { REFUSALS } from '../../src/errors/codes.js';

const CODES = Object.entries(REFUSALS);
const REGISTRY = join('errors', 'codes.ts');

test('every code is used, and refusals that no longer exist have none', () => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' });
  const sources = files.filter((path) => path.endsWith('.ts') && path !== REGISTRY);
  const text = sources.map((path) => readFileSync(join('src', path), 'utf8')).join('\n');
  assert.deepEqual(
    CODES.map(([code]) => code).filter((code) => !text.includes(`'${code}'`)),
    [],
  );
});

test('codes are room/what, in order, and their meanings differ', () => {
  const codes = CODES.map(([code]) => code);
  assert.deepEqual(codes, [...codes].sort());
  for (const code of codes) assert.match(code, /^[a-z]+\/[a-z0-9]+(-[a-z0-9]+)*$/);
  assert.equal(new Set(CODES.map(([, meaning]) => meaning)).size, CODES.length);
});

test('docs/reference/refusals.md lists them, and is up to date', () => {
  const rows = readFileSync('docs/reference/refusals.md', 'utf8').match(/^\| `.*$/gm)!;
  assert.deepEqual(
    rows,
    CODES.map(([code, meaning]) => `| \`${code}\` | ${meaning} |`),
  );
});
