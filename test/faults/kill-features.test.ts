import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { run } from '../cli/run-program.js';
import { goldenSaes } from '../features/golden-folder.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { killAgainAndAgain, LONG } from './kills.js';

const KILLS = LONG ? 12 : 1;
const root = temporaryDirectory();
const saes = await goldenSaes();
const features = (out: string) => [
  ...['features', ...saes.flatMap((sae) => ['--sae', sae]), '--model', 'assets/tiny-gemma'],
  ...['--corpus', 'assets/corpus/validation.jsonl.gz', '--tokens', '3000', '--batch', '1', '--resume', '--out', out],
];
const whole = join(root, 'whole');
let life = 0;

before(async () => {
  const began = performance.now();
  const { code, stderr } = await run(...features(whole));
  assert.equal(code, 0, stderr);
  life = performance.now() - began;
});

test(`features, killed ${KILLS} times, have no features.json before their end, and continue to the same bytes`, async () => {
  const directory = join(root, 'killed');
  mkdirSync(directory);
  await killAgainAndAgain(
    {
      command: features,
      progress: (_, milliseconds) => milliseconds,
      whole: life,
      life,
      afterKill: (out) => {
        if (existsSync(join(out, 'features.json'))) {
          const names = [...filesBelow(out)].filter(([name]) => !name.startsWith('state-') && !name.startsWith('.'));
          for (const [name, bytes] of names) assert.deepEqual(bytes, filesBelow(whole).get(name), name);
        }
      },
      atEnd: (out) => assert.deepEqual(filesBelow(out), filesBelow(whole)),
    },
    KILLS,
    directory,
    new Generator(11),
  );
});
