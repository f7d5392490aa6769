import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pages } from './commands.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

const UNITS = 'step|token|batch|second|row|hook|feature|context|core|worker|site|family|SAE|dimension|stage';
const COUNTED =
  'ms|milliseconds|microseconds|times|tokens|entries|bytes|sums|rows|numbers|features|errors|threads?|line';

/** Turns of phrase that read like a translation, and what to write instead. */
const TURNS: readonly (readonly [RegExp, string])[] = [
  [/\b(go|goes|going|went) on\b/, 'continue, resume'],
  [/\bbeside\b/, 'next to, in addition to'],
  [/\blooked at\b/, 'checked, read'],
  [/\bat work\b/, 'running'],
  [/\bof (its|their|one’s) own\b/, 'separate, its own X'],
  [/\bso many\b/, 'this many'],
  [/\bmend(s|ed|ing)?\b/i, 'fix'],
  [/\bfor else\b/, 'otherwise'],
  [/\bsays? nothing\b/, 'does not apply, does not show'],
  [/\bin the midst\b/, 'within, during'],
  [/\bpassed over\b/, 'skipped'],
  [/(?<![Tt]here )\b(is|are) no (?!longer|more|less|fewer|faster|slower|quicker|better|larger|further)/, 'is not an X'],
  [new RegExp(`\\b(${COUNTED}) an? (${UNITS})\\b`), 'per'],
];

/** Turns in a text, as `line: turn (instead)`. */
function turnsIn(text: string): string[] {
  return text.split('\n').flatMap((line, i) =>
    TURNS.flatMap(([turn, instead]) => {
      const found = turn.exec(line)?.[0];
      return found === undefined ? [] : [`${i + 1}: ${found.trim()} (${instead})`];
    }),
  );
}

test('a turn of phrase is found wherever it is in a line', () => {
  assert.deepEqual(turnsIn('fine: nothing beside it\nthere is no lock\nit is no file, 3 ms a step\nMend it'), [
    '1: beside (next to, in addition to)',
    '3: is no (is not an X)',
    '3: ms a step (per)',
    '4: Mend (fix)',
  ]);
});

test('pages say it in plain words', () => {
  const others = ['CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', 'src/train/engines/README.md'];
  const texts = [...pages(ROOT), ...others].filter((page) => !/results|refusals\.md$/.test(page));
  assert.ok(texts.length > 30);
  assert.deepEqual(
    texts.flatMap((page) => turnsIn(readFileSync(join(ROOT, page), 'utf8')).map((turn) => `${page}:${turn}`)),
    [],
  );
});

test('so do the names of tests', () => {
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' });
  const names = files
    .filter((path) => path.endsWith('.test.ts'))
    .flatMap((path) => {
      const text = readFileSync(join(ROOT, 'test', path), 'utf8');
      const found = text.matchAll(/^\s*(?:await )?(?:test|t\.test)\(\s*(['"`])(.*?)\1,/gm);
      return [...found].map((match) => ({ path, name: match[2]! }));
    });
  assert.ok(names.length > 1500, `${names.length} names`);
  assert.deepEqual(
    names.flatMap(({ path, name }) => turnsIn(name).map((turn) => `${path}: ${name} (${turn})`)),
    [],
  );
});

test('so do comments', () => {
  const found: string[] = [];
  let comments = 0;
  for (const room of ['test', 'bench', 'scripts', 'examples', 'configs']) {
    for (const path of readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' })) {
      if (!/\.(ts|mjs|py|sh|yaml)$/.test(path) || path.endsWith('wording.test.ts') || path.startsWith('.')) continue;
      const lines = readFileSync(join(ROOT, room, path), 'utf8').split('\n');
      for (const line of lines.filter((each) => /^\s*(\/\/|\/\*\*|\*|#) |^[^'"`]*\s# /.test(each))) {
        comments++;
        found.push(...turnsIn(line).map((turn) => `${join(room, path)}: ${line.trim()} (${turn})`));
      }
    }
  }
  assert.ok(comments > 2000, `${comments} comments`);
  assert.deepEqual(found, []);
});

/** Comments that are broken over lines, each on one line. */
const unwrapped = (text: string) => text.replace(/(?<=\S)\n[ \t]*(\*|\/\/)[ \t]+(?=[^@ ])/g, ' ');

test('so does src: comments, messages, help and names', () => {
  const paths = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter((path) =>
    /\.(ts|css|html)$/.test(path),
  );
  assert.ok(paths.length > 500, `${paths.length} files`);
  const found = paths.flatMap((path) => {
    const text = unwrapped(readFileSync(join(ROOT, 'src', path), 'utf8'));
    const lines = text.split('\n');
    return turnsIn(text).map((turn) => `${path}: ${lines[Number.parseInt(turn, 10) - 1]!.trim()} (${turn})`);
  });
  assert.deepEqual(found, []);
});

test('a turn that is broken over two lines of a comment is found', () => {
  assert.equal(turnsIn(unwrapped('/**\n * This goes\n * on.\n */\n// and it is at\n// work')).length, 2);
});
