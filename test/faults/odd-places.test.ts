import assert from 'node:assert/strict';
import { readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import type { RefusalCode } from '../../src/errors/codes.js';
import { logged, refused } from '../cli/refused.js';
import { run } from '../cli/run-program.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { evalWords, featuresWords, HOOK, harvestWords, made, trainWords } from './commands.js';

const root = temporaryDirectory();
const { store, sae, evaluated } = await made();

before(async () => {
  symlinkSync(join(root, 'nothing'), join(root, 'dangling'));
  symlinkSync(join(root, 'two'), join(root, 'one'));
  symlinkSync(join(root, 'one'), join(root, 'two'));
  writeFileSync(join(root, 'file'), 'text');
});

const STAGES: Readonly<Record<string, (out: string) => string[]>> = {
  harvest: (out) => harvestWords(out),
  train: (out) => trainWords(store, out),
  eval: (out) => evalWords(sae, out),
  features: (out) => featuresWords(sae, out),
  export: (out) => ['export', '--sae', sae, '--as', 'jumprelu', '--out', out],
  sweep: (out) => ['sweep', '--hook', HOOK, '--l1', '2', '--activations', join(root, 'acts'), '--out', out],
  demo: (out) => ['demo', '--quick', '--out', out],
  report: (out) => ['report', evaluated, '--out', join(out, 'page.html')],
  figure: (out) => ['figure', 'jump-relu', '--out', join(out, 'figure.svg')],
};

for (const [name, words] of Object.entries(STAGES)) {
  test(`${name}: an --out where nothing can be made is refused in a sentence, and nothing is left`, async () => {
    const before = [...filesBelowOf(root)];
    const places: [path: string, code: RefusalCode, name: string][] = [
      [join(root, 'file', 'out'), 'disk/parent-not-a-directory', join(root, 'file')],
      [join(root, 'dangling', 'out'), 'disk/broken-link', join(root, 'dangling')],
      [join(root, 'one', 'out'), 'disk/link-loop', join(root, 'one')],
      [join(root, 'n'.repeat(300)), 'disk/name-too-long', 'nnn'],
    ];
    if (process.platform === 'linux') {
      places.push(['/proc/sae-pipe', 'disk/no-new-directories', '/proc']);
      places.push(['/dev/null/out', 'disk/parent-not-a-directory', '/dev/null']);
    }
    const outcomes = await Promise.all(places.map(([path]) => run(...logged(words(path)))));
    for (const [i, outcome] of outcomes.entries()) {
      const [, code, name] = places[i]!;
      refused(outcome, code, name);
    }
    assert.deepEqual([...filesBelowOf(root)], before);
  });
}

/** Names of what is whole; links to nothing and loops cannot be read. */
const filesBelowOf = (directory: string) =>
  readdirSync(directory)
    .filter((name) => !['dangling', 'one', 'two', 'file'].includes(name))
    .flatMap((name) => [...filesBelow(join(directory, name)).keys()].map((file) => join(name, file)));
