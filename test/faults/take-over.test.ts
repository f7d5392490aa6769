import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { LOCK_FILE } from '../../src/disk/lock.js';
import { type Owner, thisProcess } from '../../src/disk/lock-owner.js';
import { logged, refused } from '../cli/refused.js';
import { run } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { evalWords, featuresWords, HOOK, harvestWords, succeeds, trainWords } from './commands.js';

const root = temporaryDirectory();
const acts = join(root, 'acts');
const sae = join(root, 'sae');

before(async () => {
  await succeeds(harvestWords(acts, 1000));
  await succeeds(trainWords(join(acts, HOOK), sae, { steps: 5 }));
});

/** Each command, and where below its --out it holds locks. */
const STAGES: Readonly<Record<string, [words: (out: string) => string[], held: string[]]>> = {
  harvest: [(out) => harvestWords(out, 500), [HOOK]],
  train: [(out) => trainWords(join(acts, HOOK), out, { steps: 5 }), ['']],
  eval: [(out) => evalWords(sae, out), ['']],
  features: [(out) => featuresWords(sae, out), ['']],
  export: [(out) => ['export', '--sae', sae, '--as', 'jumprelu', '--out', out], ['']],
  sweep: [
    (out) => ['sweep', '--config', join(root, 'sweep.yaml'), '--activations', acts, '--hook', HOOK, '--out', out],
    ['', join('saes', HOOK, 'gated_d-sae-64_l1-2_seed-0')],
  ],
};

for (const [name, [words, held]] of Object.entries(STAGES)) {
  test(`${name}: the lock of another machine is refused, and --take-over takes it, naming whose it was`, async () => {
    writeFileSync(join(root, 'sweep.yaml'), 'train: {steps: 5, batch: 64, d-sae: 64, l1: 2}\n');
    const out = join(root, `of-${name}`);
    const owner: Owner = { ...thisProcess(), host: 'node17', user: 'someone', pid: 4711, command: 'sae-pipe train' };
    const locks = held.map((below) => join(out, below, LOCK_FILE));
    for (const lock of locks) {
      mkdirSync(join(lock, '..'), { recursive: true });
      writeFileSync(lock, JSON.stringify({ ...owner, id: thisProcess().id }));
    }
    const before = locks.map((lock) => readFileSync(lock, 'utf8'));
    const named = ['sae-pipe train', 'pid 4711 of someone on node17', '--take-over'];
    refused(await run(...logged(words(out))), 'disk/in-use-elsewhere', ...named);
    assert.deepEqual(
      locks.map((lock) => readFileSync(lock, 'utf8')),
      before,
    );
    const { stderr } = await succeeds([...words(out), '--take-over']);
    const lines = stderr.split('\n').filter((line) => line.includes('pid 4711 of someone on node17'));
    assert.equal(lines.length, held.length, stderr);
    for (const lock of locks) assert.ok(!existsSync(lock));
  });
}

test('--take-over takes nothing from a process of this machine', async () => {
  const out = join(root, 'alive');
  mkdirSync(out);
  writeFileSync(join(out, LOCK_FILE), JSON.stringify(thisProcess()));
  const outcome = await run(...logged([...trainWords(join(acts, HOOK), out), '--take-over']));
  refused(outcome, 'disk/in-use', out, `pid ${process.pid}`);
});
