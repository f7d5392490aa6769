import assert from 'node:assert/strict';
import { cpSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { evalSchema } from '../../src/config/stages/eval.js';
import { exportSchema } from '../../src/config/stages/saes.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { LOCK_FILE } from '../../src/disk/lock.js';
import { checkOutputDirectory } from '../../src/disk/output-directory.js';
import { evaluate } from '../../src/eval/evaluate.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { exportSae } from '../../src/sae/export.js';
import { train } from '../../src/train/train.js';
import { refuses } from '../config/refuses.js';
import { deadOwner } from '../disk/dead-owner.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { resultsBelow } from './commands.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const never: StopRequest = { signal: undefined };
const root = temporaryDirectory();
let activations: string;

before(async () => {
  activations = await tinyActivations(root);
});

/**
 * What an --overwrite of `old` leaves that is killed before its n-th deletion, for each n; then `work` is to end in the
 * files of `whole`, and none of the old ones.
 */
async function killedAnywhere(
  old: string,
  result: string,
  whole: string,
  work: (out: string) => Promise<unknown>,
): Promise<void> {
  const order = await checkOutputDirectory(old, { overwrite: true, ours: () => true, result });
  assert.equal(order[0], result);
  for (let deleted = 1; deleted <= order.length; deleted++) {
    const out = `${old}-${deleted}`;
    cpSync(old, out, { recursive: true });
    for (const name of order.slice(0, deleted)) rmSync(join(out, name));
    writeFileSync(join(out, LOCK_FILE), JSON.stringify(await deadOwner()));
    await work(out);
    assert.deepEqual(resultsBelow(out), resultsBelow(whole), `${deleted} of ${order.join(', ')}`);
  }
}

const settings = { dSae: 64, batch: 64, logEvery: 5, threads: 1 };

test('train: a killed --overwrite and --resume leave nothing of the run before', async () => {
  const trained = (out: string, more: object) =>
    train(trainSchema.parse({ activations, ...settings, steps: 20, out, ...more }), silent, never);
  const [old, whole] = [join(root, 'old'), join(root, 'whole')];
  await trained(old, { steps: 40, l1: 9 });
  await trained(whole, {});
  writeFileSync(join(old, 'sae_weights.safetensors.0123456789abcdef.tmp'), 'torn');
  await killedAnywhere(old, 'cfg.json', whole, async (out) => {
    if (readdirSync(out).some((name) => name.startsWith('checkpoint-'))) {
      // It is still the old run: other settings do not continue it.
      await refuses(() => trained(out, { resume: true }), 'train/other-settings', 'l1 = 9', '--overwrite');
      await trained(out, { overwrite: true });
    } else await trained(out, { resume: true });
  });
});

test('eval and export: the same command', onDemand, async () => {
  const [one, two] = [join(root, 'one'), join(root, 'two')];
  for (const [out, seed] of [
    [one, 1],
    [two, 2],
  ] as const) {
    await train(trainSchema.parse({ activations, ...settings, steps: 20, seed, out }), silent, never);
  }
  const text = { model: 'assets/tiny-gemma', corpus: 'assets/corpus/validation.jsonl.gz', tokens: 200 };
  const evaluated = (sae: string[], out: string) => evaluate(evalSchema.parse({ ...text, sae, out }), silent, never);
  const [old, whole] = [join(root, 'eval-old'), join(root, 'eval')];
  await evaluated([two, one], old);
  await evaluated([one], whole);
  await killedAnywhere(old, 'eval.json', whole, (out) => evaluated([one], out));
  const exported = (sae: string, out: string) => exportSae(exportSchema.parse({ sae, as: 'jumprelu', out }));
  const [oldExport, wholeExport] = [join(root, 'export-old'), join(root, 'export')];
  await exported(two, oldExport);
  await exported(one, wholeExport);
  await killedAnywhere(oldExport, 'cfg.json', wholeExport, (out) => exported(one, out));
  assert.deepEqual(readdirSync(wholeExport).sort(), ['cfg.json', 'sae_weights.safetensors']);
});
