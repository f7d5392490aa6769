import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { readManifest } from '../../src/activations/manifest.js';
import { readStatistics } from '../../src/activations/statistics.js';
import { openStore } from '../../src/activations/store.js';
import { evalSchema } from '../../src/config/stages/eval.js';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { evaluate } from '../../src/eval/evaluate.js';
import { harvest } from '../../src/harvest/harvest.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { widen } from '../../src/safetensors/floats.js';
import { train } from '../../src/train/train.js';
import { refusesUsage } from '../config/refuses.js';
import { changedStore } from '../faults/damage.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { curveOf, tinyActivations } from '../train/tiny-activations.js';
import { interrupted } from './resumes.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let activations: string;
let counter = 0;

before(async () => {
  activations = await tinyActivations(root);
});

const fresh = () => join(root, `out-${counter++}`);
const configured = (more: Partial<TrainConfig> = {}): TrainConfig =>
  trainSchema.parse({
    ...{ activations, dSae: 64, steps: 20, batch: 128, lr: 1e-3, l1: 3, deadWindow: 1000, logEvery: 10, threads: 1 },
    ...{ out: fresh(), ...more },
  });

interface Cfg {
  metadata: { max_activation_norm_multiple?: number; median_activation_norm?: number; sae_pipe: { left_out?: number } };
}
const cfgOf = (directory: string) => JSON.parse(readFileSync(join(directory, 'cfg.json'), 'utf8')) as Cfg;

/** Every 100th row is 2⁵ times as long. */
function withLongRows(): string {
  let from = activations;
  for (const shard of [0, 1, 2, 3]) {
    from = changedStore(from, fresh(), shard, (bits, d) => {
      for (const [k, value] of bits.entries()) {
        const exponent = (value >> 10) & 31;
        if (Math.floor(k / d) % 100 === 7 && exponent > 0 && exponent < 25) bits[k] = value + (5 << 10);
      }
    });
  }
  return from;
}

test('long rows are left out of training and counted; a resumed run is the undisturbed one', async () => {
  const long = withLongRows();
  const rule = { activations: long, maxActivationNormMultiple: 8 };
  const undisturbed = configured(rule);
  await train(undisturbed, silent, never);
  const { metadata } = cfgOf(undisturbed.out);
  assert.equal(metadata.max_activation_norm_multiple, 8);
  assert.ok(metadata.median_activation_norm! > 0);
  // 2560 of 4000 rows are trained on, about 1 % of them long.
  const left = metadata.sae_pipe.left_out!;
  assert.ok(left > 5 && left < 60, String(left));

  const config = configured({ ...rule, checkpointEvery: '7' });
  await interrupted(config, 12);
  await train({ ...config, resume: true }, silent, never);
  assert.equal(cfgOf(config.out).metadata.sae_pipe.left_out, left);
  const weights = (directory: string) => readFileSync(join(directory, 'sae_weights.safetensors'));
  assert.ok(weights(config.out).equals(weights(undisturbed.out)));

  // Without the rule, the long rows are most of the error.
  const all = configured({ activations: long });
  await train(all, silent, never);
  assert.equal(cfgOf(all.out).metadata.max_activation_norm_multiple, undefined);
  assert.equal(cfgOf(all.out).metadata.sae_pipe.left_out, undefined);
  assert.ok(curveOf(undisturbed.out).at(-1)!.mse < 0.8 * curveOf(all.out).at(-1)!.mse);
});

const text = { model: 'assets/tiny-gemma', corpus: 'assets/corpus/validation.jsonl.gz', context: 64, threads: 1 };
const HOOK = 'blocks.2.hook_resid_post';

test('a harvest leaves long positions out, and has as many rows; what is stopped ends as what is not', async () => {
  const settings = { ...text, hook: [HOOK], tokens: 3000, batch: 4, windowRows: 800, rowsPerShard: 300 };
  const config = harvestSchema.parse({ ...settings, maxActivationNormMultiple: 1.2, out: fresh() });
  const [store] = await harvest(config, silent, never);
  const manifest = await readManifest(store!);
  const { max_activation_norm_multiple: multiple, median_activation_norm: median, rows, dtype, d_in: d } = manifest;
  assert.deepEqual([multiple, rows], [1.2, 3000]);
  const left = manifest.contexts.reduce((sum, { left_out }) => sum + left_out!, 0);
  assert.ok(left > 30, String(left));
  const { readShard } = await openStore(store!);
  for (const i of manifest.shards.keys()) {
    const x = widen((await readShard(i)).activation, dtype);
    for (let at = 0; at < x.length; at += d) {
      assert.ok(Math.hypot(...x.subarray(at, at + d)) <= 1.2 * median! * 1.01);
    }
  }
  assert.equal((await readStatistics(store!, manifest))?.rows, 3000);

  const out = fresh();
  let asked = 0;
  const after: StopRequest = {
    get signal() {
      return asked++ > 60 ? 'SIGINT' : undefined;
    },
  };
  await assert.rejects(harvest({ ...config, out }, silent, after), Interrupted);
  await harvest({ ...config, out, resume: true }, silent, never);
  assert.deepEqual(filesBelow(out), filesBelow(config.out));

  await refusesUsage(
    () => harvest({ ...config, out: fresh(), hook: [HOOK, 'blocks.1.hook_mlp_out'] }, silent, never),
    'harvest/norm-limit',
  );
  const other = { ...config, resume: true, maxActivationNormMultiple: 2 };
  await assert.rejects(harvest(other, silent, never), { code: 'harvest/other-settings' });
  // Training on it goes by its rule, and takes no other.
  const sae = configured({ activations: store! });
  await train(sae, silent, never);
  assert.equal(cfgOf(sae.out).metadata.median_activation_norm, median);
  await refusesUsage(
    () => train(configured({ activations: store!, maxActivationNormMultiple: 3 }), silent, never),
    'train/norm-limit',
  );
  // Of recipes and older runs it is 0, which leaves it as it is, and is said.
  for (const [multiple, lines] of [
    [0, 1],
    [undefined, 0],
  ] as const) {
    const said: string[] = [];
    const again = configured({ activations: store!, steps: 1, maxActivationNormMultiple: multiple });
    await train(again, { ...silent, say: (line) => said.push(line) }, never);
    assert.equal(cfgOf(again.out).metadata.median_activation_norm, median);
    assert.equal(said.filter((line) => line.includes('--max-activation-norm-multiple')).length, lines);
  }
});

test('eval follows the rule of the SAE, also for SAEs that have none; --all-tokens does not, and other multiples are refused', async () => {
  const store = (
    await harvest(harvestSchema.parse({ ...text, hook: [HOOK], tokens: 3000, out: fresh() }), silent, never)
  )[0]!;
  const [ruled, plain] = [
    configured({ activations: store, maxActivationNormMultiple: 1.2 }),
    configured({ activations: store }),
  ];
  await train(ruled, silent, never);
  await train(plain, silent, never);
  const lines: string[] = [];
  const progress = { ...silent, say: (line: string) => lines.push(line) };
  const measured = (sae: string[], more: object = {}) =>
    evaluate(evalSchema.parse({ ...text, sae, tokens: 400, out: fresh(), ...more }), progress, never);
  const [found] = await measured([ruled.out]);
  assert.equal(found!.tokens, 400);
  assert.ok(found!.left_out > 10, String(found!.left_out));
  assert.equal(found!.settings.norm_limit?.multiple, 1.2);
  assert.equal(found!.settings.norm_limit?.hook, HOOK);
  const [all] = await measured([ruled.out], { allTokens: true });
  assert.equal(all!.left_out, 0);
  assert.equal(all!.settings.norm_limit, undefined);
  assert.notEqual(all!.ce_spliced, found!.ce_spliced);
  assert.equal((await measured([plain.out]))[0]!.settings.norm_limit, undefined);
  const remarks = () => lines.splice(0).filter((line) => line.includes('--all-tokens'));
  assert.deepEqual(remarks(), []);
  for (const { settings, left_out, ce_clean } of await measured([plain.out, ruled.out])) {
    assert.deepEqual([settings.norm_limit, left_out], [found!.settings.norm_limit, found!.left_out]);
    assert.equal(ce_clean, found!.ce_clean);
  }
  const [remark, ...others] = remarks();
  assert.deepEqual(others, []);
  assert.ok(remark!.includes(plain.out) && !remark!.includes(ruled.out), remark);
  const other = fresh();
  cpSync(ruled.out, other, { recursive: true });
  const cfg = cfgOf(other);
  cfg.metadata.max_activation_norm_multiple = 1.3;
  writeFileSync(join(other, 'cfg.json'), JSON.stringify(cfg));
  await assert.rejects(measured([ruled.out, plain.out, other]), { code: 'eval/several-norm-limits' });
  assert.equal((await measured([ruled.out, other], { allTokens: true })).length, 2);
});
