import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { run, sleep, start } from '../cli/run-program.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { tinyActivations } from './tiny-activations.js';

/** `SAE_PIPE_LONG=1 node --test dist/test/train/kill.test.js` is the long form. */
const LONG = process.env.SAE_PIPE_LONG === '1';
const STEPS = LONG ? 2000 : 300;
const KILLS = LONG ? 20 : 4;

const root = temporaryDirectory();
let activations: string;

before(async () => {
  activations = await tinyActivations(root);
});

/** The step of the newest whole line of a curve. */
function stepOf(out: string): number {
  try {
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').split('\n').slice(0, -1);
    return (JSON.parse(lines.at(-1)!) as { step: number }).step;
  } catch {
    return 0;
  }
}

for (const engine of ['sparse', 'reference'] as const) {
  test(`killed ${KILLS} times at random moments, ${STEPS} steps of the ${engine} engine end in the same bytes`, async () => {
    const random = new Generator(17);
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
      // So often that many kills fall into the writing of one.
      'checkpoint-every': 7,
    };
    const words = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
    const whole = join(root, `${engine}-whole`);
    const undisturbed = await run('train', ...words, '--out', whole);
    assert.equal(undisturbed.code, 0, undisturbed.stderr);
    assert.match(undisturbed.stderr, /dead features resampled/);

    const out = join(root, `${engine}-killed`);
    const moments = Array.from({ length: KILLS }, () => random.below(STEPS - 1)).sort((a, b) => a - b);
    let killed = 0;
    const kill = async (when: (child: ReturnType<typeof start>['child']) => Promise<void>) => {
      const { child, outcome } = start('train', ...words, '--out', out, '--resume');
      await when(child);
      child.kill('SIGKILL');
      const { code, signal, stderr } = await outcome;
      if (signal === 'SIGKILL') killed++;
      else assert.equal(code, 0, stderr);
    };
    for (const [i, moment] of moments.entries()) {
      await kill(async (child) => {
        // Every fourth soon after its start, wherever that is; the others some way into a step.
        if (i % 4 === 3) await sleep(random.below(1200));
        else {
          while (stepOf(out) < moment && child.exitCode === null) await sleep(1);
          await sleep(random.below(20));
        }
      });
    }
    assert.equal(killed, KILLS);
    const finished = await run('train', ...words, '--out', out, '--resume');
    assert.equal(finished.code, 0, finished.stderr);
    for (const file of ['cfg.json', 'sae_weights.safetensors']) {
      assert.deepEqual(filesBelow(out).get(file), filesBelow(whole).get(file), file);
    }
    const curve = (directory: string) =>
      readFileSync(join(directory, 'metrics.jsonl'), 'utf8').replace(/,"tokens_per_second":\d+/g, '');
    assert.equal(curve(out), curve(whole));
    assert.deepEqual(
      readdirSync(out).filter((name) => name.startsWith('checkpoint')),
      [],
    );
  });
}
