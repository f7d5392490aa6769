import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { run } from '../cli/run-program.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { killAgainAndAgain, LONG, linesOf, timeless } from './kills.js';

const STEPS = LONG ? 600 : 200;
const KILLS = LONG ? 20 : 1;

const root = temporaryDirectory();
let activations: string;

before(async () => {
  activations = await tinyActivations(root);
});

for (const engine of LONG ? (['sparse', 'reference'] as const) : (['sparse'] as const)) {
  test(`training with the ${engine} engine, killed ${KILLS} times, ends in the bytes of an undisturbed run`, async () => {
    const flags = {
      engine,
      activations,
      'd-sae': 200,
      batch: 64,
      steps: STEPS,
      lr: 1e-2,
      l1: 150,
      'dead-window': 192,
      'log-every': 1,
      'resample-at': `${STEPS / 4},${STEPS / 2}`,
      'resample-warmup': 20,
      // Often enough that many kills fall within the writing of one.
      'checkpoint-every': 7,
    };
    const words = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
    const whole = join(root, `${engine}-whole`);
    const undisturbed = await run('train', ...words, '--out', whole);
    assert.equal(undisturbed.code, 0, undisturbed.stderr);
    assert.match(undisturbed.stderr, /dead features resampled/);

    const directory = join(root, engine);
    mkdirSync(directory);
    const curve = (out: string) => join(out, 'metrics.jsonl');
    await killAgainAndAgain(
      {
        command: (out) => ['train', ...words, '--out', out, '--resume'],
        progress: (out) => linesOf(curve(out)),
        whole: STEPS,
        async afterKill(out) {
          // A directory with the name of an SAE is a complete one.
          if (existsSync(join(out, 'cfg.json'))) await readSae(await openSae(out));
        },
        atEnd(out) {
          for (const file of ['cfg.json', 'sae_weights.safetensors']) {
            assert.deepEqual(filesBelow(out).get(file), filesBelow(whole).get(file), file);
          }
          const [found, expected] = [out, whole].map((of) => timeless(readFileSync(curve(of), 'utf8')));
          assert.equal(found, expected);
        },
      },
      KILLS,
      directory,
      new Generator(17),
    );
  });
}
