import assert from 'node:assert/strict';
import { test } from 'node:test';
import { globMatcher } from '../../src/corpus/glob.js';

test('patterns match as in a shell, ** across directories', () => {
  const matching: [string, string[], string[]][] = [
    ['*.parquet', ['a.parquet'], ['a/b.parquet', 'a.parquet.gz']],
    ['**/*.parquet', ['a.parquet', 'a/b/c.parquet'], ['a/b.txt']],
    ['data/**', ['data/a', 'data/a/b'], ['data', 'datas/a']],
    ['a?c', ['abc'], ['ac', 'a/c']],
    ['x-[0-2][!a].txt', ['x-1b.txt'], ['x-3b.txt', 'x-1a.txt']],
    ['{en,de}/{a,b}.txt', ['en/a.txt', 'de/b.txt'], ['fr/a.txt', 'en/c.txt']],
    ['a+(b).txt', ['a+(b).txt'], ['aab.txt']],
    ['[', ['['], []],
  ];
  for (const [pattern, wanted, others] of matching) {
    const isMatch = globMatcher(pattern);
    for (const path of wanted) assert.ok(isMatch(path), `${pattern} ${path}`);
    for (const path of others) assert.ok(!isMatch(path), `${pattern} ${path}`);
  }
});

test('a pattern of many stars takes no longer than both lengths allow', () => {
  assert.equal(globMatcher('*a'.repeat(200))(`${'a'.repeat(4000)}b`), false);
  assert.equal(globMatcher('{a,b}'.repeat(40))('a'.repeat(40)), true);
});
