import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type EvalConfig, evalSchema } from '../../src/config/stages/eval.js';
import { LOCK_FILE } from '../../src/disk/lock.js';
import { Interrupted, Refusal } from '../../src/errors/refusal.js';
import { evaluate } from '../../src/eval/evaluate.js';
import type { EvalRecord, MeasuredRecord } from '../../src/eval/record.js';
import { readEvaluation } from '../../src/eval/record.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { renderReport } from '../../src/report/report.js';
import { PARAMETERS } from '../../src/sae/registry.js';
import { parameterShape, type Sae, square } from '../../src/sae/sae.js';
import { saveSae } from '../../src/sae/saelens.js';
import { writeSafetensors } from '../../src/safetensors/file.js';
import { deadOwner } from '../disk/dead-owner.js';
import { openGolden } from '../golden.js';
import { temporaryDirectory } from '../temporary.js';

const HOOK = 'blocks.2.hook_resid_post';
const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
const original = openCheckpoint('assets/tiny-gemma');
let counter = 0;

/** A standard SAE with features ±x_i, so that x̂ = gain · x exactly. */
function identity(d: number, gain = 1): Sae {
  const W_enc = new Float32Array(d * 2 * d);
  const W_dec = new Float32Array(2 * d * d);
  for (let i = 0; i < d; i++) {
    W_enc[i * 2 * d + i] = 1;
    W_enc[i * 2 * d + d + i] = -1;
    W_dec[i * d + i] = gain;
    W_dec[(d + i) * d + i] = -gain;
  }
  const parameters = { W_enc, W_dec, b_dec: new Float32Array(d), b_enc: new Float32Array(2 * d) };
  return { architecture: 'standard', dIn: d, dOut: d, dSae: 2 * d, parameters };
}

async function saved(sae: Sae, metadata: Record<string, unknown> = {}): Promise<string> {
  const directory = join(root, `sae-${counter++}`);
  mkdirSync(directory);
  const { fingerprint } = await original;
  await saveSae(directory, sae, { hook_name: HOOK, context_size: 256, model_fingerprint: fingerprint, ...metadata });
  return directory;
}

const configured = (sae: string[], more: Partial<EvalConfig> = {}): EvalConfig =>
  evalSchema.parse({
    sae,
    model: 'assets/tiny-gemma',
    corpus: 'assets/corpus/validation.jsonl.gz',
    tokens: 1000,
    out: join(root, `eval-${counter++}`),
    ...more,
  });

/** Clean loss over the counted positions of the golden contexts, from transformers. */
async function goldenLoss(): Promise<{ positions: number; mean: number }> {
  const golden = await openGolden('tiny-gemma');
  const [tokens, nll] = [await golden.ints('tokens'), await golden.floats('nll')];
  let [positions, sum] = [0, 0];
  for (let c = 0; c < 20; c++) {
    for (let t = 0; t < 255; t++) {
      if (tokens[c * 256 + t] === 2 || tokens[c * 256 + t + 1] === 2) continue;
      positions++;
      sum += nll[c * 255 + t]!;
    }
  }
  return { positions, mean: sum / positions };
}

test('a perfect SAE recovers all of the loss, a zero one none, and the clean loss is that of transformers', async () => {
  const { positions, mean } = await goldenLoss();
  const saes = [await saved(identity(192)), await saved(identity(192, 0))];
  const config = configured(saes, { tokens: positions });
  const [perfect, zero] = (await evaluate(config, silent, never)) as [EvalRecord, EvalRecord];
  assert.ok(Math.abs(perfect.ce_clean - mean) < 1e-4, `${perfect.ce_clean}, not ${mean}`);
  assert.ok(Math.abs(perfect.loss_recovered - 1) < 1e-3, `${perfect.loss_recovered}`);
  assert.ok(Math.abs(zero.loss_recovered) < 1e-3, `${zero.loss_recovered}`);
  assert.ok(Math.abs(perfect.kl) < 1e-5 && perfect.mse < 1e-4 && perfect.explained_variance > 1 - 1e-6);
  assert.ok(Math.abs(perfect.cosine - 1) < 1e-5 && Math.abs(perfect.relative_reconstruction_bias - 1) < 1e-5);
  assert.equal(zero.cosine, 0);
  assert.ok(zero.kl > 1);
  // Of each pair of features ±x_i exactly one is active.
  assert.ok(Math.abs(perfect.l0 - 192) < 0.1, `${perfect.l0}`);
  assert.equal(perfect.tokens, positions);
  const histogram = perfect.density_histogram;
  assert.equal(histogram.counts.reduce((sum, n) => sum + n, 0) + histogram.dead, 384);
  assert.ok(Number.isNaN(zero.relative_reconstruction_bias));
  const written = JSON.parse(readFileSync(join(config.out, 'eval.json'), 'utf8')) as EvalRecord[];
  const nothing = { relative_reconstruction_bias: null };
  const intervals = { ...zero.intervals, relative_reconstruction_bias: [null, null] };
  assert.deepEqual(written, [perfect, { ...zero, ...nothing, intervals }]);
});

test('the identity, zero and mean SAEs measure what they must', async () => {
  const golden = await openGolden('metrics');
  const chosen = await (await openGolden('eval')).ints('contexts');
  const tokens = (await golden.doubles('tokens')).reduce((sum, n) => sum + n, 0);
  // The mean below is that of the first contexts.
  assert.deepEqual([...chosen], [0, 1, 2, 3]);
  const constant = identity(192, 0);
  constant.parameters.W_enc!.fill(0);
  constant.parameters.b_dec = await golden.floats('x_mean');
  const saes = [await saved(identity(192)), await saved(identity(192, 0)), await saved(constant)];
  const config = configured(saes, { tokens, meanAblation: true });
  const records = await evaluate(config, silent, never);
  assert.deepEqual(
    (await readEvaluation(config.out)).map(({ record }) => record),
    records,
  );
  const [perfect, zero, mean] = records as [MeasuredRecord, MeasuredRecord, MeasuredRecord];
  const near = (what: string, value: number | null, expected: number, tolerance = 1e-4) =>
    assert.ok(value !== null && Math.abs(value - expected) < tolerance, `${what}: ${value}, not ${expected}`);

  near('ce_mean', mean.ce_mean, await golden.scalar('ce_mean'));
  for (const [sae, recovered, recoveredMean, fvu, fvuTokens, ratio, l0] of [
    [perfect, 1, 1, 0, 0, 1, 192],
    // Σ|x|² / Σ|x − x̄|², where the SAE of the mean has the error |x − x̄|².
    [zero, 0, (mean.ce_mean! - zero.ce_zero) / (mean.ce_mean! - zero.ce_clean), zero.mse / mean.mse, null, 0, 192],
    [mean, (mean.ce_zero - mean.ce_mean!) / (mean.ce_zero - mean.ce_clean), 0, 1, 1, null, 0],
  ] as const) {
    near('loss_recovered', sae.loss_recovered, recovered);
    near('loss_recovered_mean', sae.loss_recovered_mean, recoveredMean);
    near('fvu', sae.fvu, fvu);
    near('explained_variance', sae.explained_variance, 1 - fvu);
    if (fvuTokens !== null) near('explained_variance_tokens', sae.explained_variance_tokens, 1 - fvuTokens);
    if (ratio !== null) near('norm_ratio', sae.norm_ratio, ratio);
    near('delta_ce', sae.delta_ce, sae.ce_spliced - sae.ce_clean, 1e-9);
    const { counts, edges } = sae.l0_histogram;
    assert.equal(counts.at(-1), l0 === 0 ? tokens : counts.at(-1));
    assert.ok(edges.at(-2)! <= l0 && l0 < edges.at(-1)!, `L0 ${l0} is not in the last bin of ${edges}`);
    near(
      'positions',
      counts.reduce((sum, n) => sum + n, 0),
      tokens,
      1e-9,
    );
    assert.equal(sae.contexts, 4);
  }
  near('its interval', perfect.intervals.loss_recovered![0], 1);
  near('its interval', mean.intervals.loss_recovered_mean![1], 0);
  assert.ok(zero.intervals.ce_zero![0] < zero.ce_zero && zero.ce_zero < zero.intervals.ce_zero![1]);
  // Decoder rows ±e_i: the nearest other row is at a right angle; rows of zeros are at none.
  assert.deepEqual(perfect.decoder_max_cosine, { mean: 0, largest: 0 });
  assert.deepEqual([perfect.dense_fraction, mean.dense_fraction], [1, 0]);
  assert.deepEqual(perfect.loss_by_position.ce_spliced, perfect.loss_by_position.ce_clean);
  assert.deepEqual(zero.loss_by_position.ce_spliced, zero.loss_by_position.ce_zero);
});

test('an SAE whose features are all active is in the last bin of L0', async () => {
  const sae = identity(192);
  sae.parameters.b_enc!.fill(1e6);
  const [record] = await evaluate(configured([await saved(sae)], { tokens: 100 }), silent, never);
  const { edges, counts } = record!.l0_histogram;
  assert.deepEqual([record!.l0, counts.at(-1), edges.at(-1)! > 384], [384, 100, true]);
});

test('an evaluation is the same from run to run, intervals too', async () => {
  const sae = [await saved(identity(192, 0.8))];
  const [a, b] = [await evaluate(configured(sae), silent, never), await evaluate(configured(sae), silent, never)];
  assert.deepEqual(a, b);
});

test('a shrunken reconstruction has the relative reconstruction bias and errors it must have', async () => {
  const [record] = await evaluate(configured([await saved(identity(192, 0.8))]), silent, never);
  assert.ok(Math.abs(record!.relative_reconstruction_bias - 0.8) < 1e-5);
  assert.ok(Math.abs(record!.cosine - 1) < 1e-5);
  assert.ok(record!.loss_recovered > 0.9 && record!.loss_recovered < 1);
});

test('SAEs of several hooks are evaluated each at its own, in the order given', async () => {
  const other = await saved(identity(192), { hook_name: 'blocks.0.hook_attn_out' });
  const records = await evaluate(configured([other, await saved(identity(192, 0)), other]), silent, never);
  assert.deepEqual(
    records.map(({ hook }) => hook),
    ['blocks.0.hook_attn_out', HOOK, 'blocks.0.hook_attn_out'],
  );
  assert.deepEqual(records[0], records[2]);
  assert.ok(records[0]!.ce_zero < records[1]!.ce_zero);
});

test('what does not belong together is refused, and nothing is written', async () => {
  const fits = await saved(identity(192));
  for (const [saes, more, message] of [
    [[await saved(identity(5))], {}, /d_in 5, but blocks\.2\.hook_resid_post of tiny-gemma has width 192/],
    [[await saved(identity(192), { model_fingerprint: `2:${'f'.repeat(64)}` })], {}, /trained on another model/],
    [[await saved(identity(192), { model_fingerprint: 'f'.repeat(64) })], {}, /cannot be compared/],
    [[await saved(identity(192), { hook_name: undefined })], {}, /names no hook/],
    [
      [await saved(identity(192), { hook_name: 'blocks.2.hook_resid' })],
      {},
      /The model has no hook "blocks\.2\.hook_resid"/,
    ],
    [[fits, await saved(identity(192), { context_size: 128 })], {}, /different context lengths \(256, 128\)/],
    [[fits], { hook: 'blocks.0.hook_resid_pre' }, /was trained at blocks\.2\.hook_resid_post, but --hook is blocks\.0/],
    [[fits, await saved(identity(192), { prepend_bos: false })], {}, /contexts without it/],
    [[await saved(identity(192), { context_size: -3 })], {}, /metadata\.context_size/],
    [[await saved(identity(192, Number.NaN))], {}, /contains NaN in W_dec/],
    [[root], {}, /is not an SAE directory/],
    [[fits], { model: root }, /config\.json does not exist/],
    [[fits], { tokens: 10_000_000 }, /has \d+ tokens in complete contexts.*is 10000000/],
    [[fits], { context: 1000 }, /longer than the model's 512/],
  ] as const) {
    const config = configured([...saes], more);
    await assert.rejects(evaluate(config, silent, never), (error: unknown) => {
      assert.ok(error instanceof Refusal, String(error));
      assert.match(error.message, message);
      return true;
    });
    assert.ok(!existsSync(config.out));
  }
});

for (const [dtype, one] of [
  ['BF16', 0x3f80],
  ['F16', 0x3c00],
] as const) {
  test(`an SAE with ${dtype} weights is read as what it says`, async () => {
    const sae = identity(192);
    const directory = await saved(sae);
    const tensors = PARAMETERS.standard.map((name) => {
      // Its entries are 0, 1 and −1, exact in every type.
      const bits = Uint16Array.from(sae.parameters[name]!, (x) => (x === 0 ? 0 : x > 0 ? one : one | 0x8000));
      return { name, dtype, shape: parameterShape(name, square(192, 384)), bytes: new Uint8Array(bits.buffer) };
    });
    await writeSafetensors(join(directory, 'sae_weights.safetensors'), tensors);
    const [record] = await evaluate(configured([directory]), silent, never);
    assert.ok(Math.abs(record!.loss_recovered - 1) < 1e-3 && record!.mse < 1e-4, `${record!.loss_recovered}`);
  });
}

test('an SAE of another model is evaluated with --any-model', async () => {
  for (const model_fingerprint of [`2:${'f'.repeat(64)}`, 'f'.repeat(64)]) {
    const foreign = await saved(identity(192), { model_fingerprint });
    const [record] = await evaluate(configured([foreign], { anyModel: true }), silent, never);
    assert.ok(Math.abs(record!.loss_recovered - 1) < 1e-3);
  }
});

test('other weights have another fingerprint, and a copy elsewhere the same', async () => {
  const copy = join(root, 'copy');
  cpSync('assets/tiny-gemma', copy, { recursive: true });
  assert.equal((await openCheckpoint(copy)).fingerprint, (await original).fingerprint);
  const path = join(copy, 'model.safetensors');
  const bytes = readFileSync(path);
  bytes[3_000_001]! ^= 1;
  writeFileSync(path, bytes);
  assert.notEqual((await openCheckpoint(copy)).fingerprint, (await original).fingerprint);
});

test('an SAE or a model that is replaced during an evaluation is refused, and nothing is written', async () => {
  const other = await saved(identity(192, 0.5));
  const model = join(root, 'replaced-model');
  cpSync('assets/tiny-gemma', model, { recursive: true });
  const weights = readFileSync(join(model, 'model.safetensors'));
  weights[weights.length - 1]! ^= 1;
  const replace = {
    'whole SAE': (sae: string) => cpSync(other, sae, { recursive: true }),
    'cfg.json': (sae: string) => cpSync(join(other, '..', 'sae-0', 'cfg.json'), join(sae, 'cfg.json')),
    weights: (sae: string) => cpSync(join(other, 'sae_weights.safetensors'), join(sae, 'sae_weights.safetensors')),
    model: () => writeFileSync(join(model, 'model.safetensors'), weights),
  };
  for (const [what, change] of Object.entries(replace)) {
    const sae = await saved(identity(192), { note: 'its own' });
    const config = configured([sae], { model });
    let label = '';
    const progress = {
      ...silent,
      begin: (name: string) => {
        label = name;
      },
      // Once both are loaded and the first pass has been made.
      update: () => {
        if (label.startsWith('evaluating')) change(sae);
      },
    };
    await assert.rejects(evaluate(config, progress, never), /was changed while in use/, what);
    assert.ok(!existsSync(config.out), what);
  }
});

test('a curve that is another file is not copied: the SAE is evaluated without it, with a message', async () => {
  const secret = join(root, 'id_rsa');
  writeFileSync(secret, 'PRIVATE KEY\n');
  const sae = await saved(identity(192));
  symlinkSync(secret, join(sae, 'metrics.jsonl'));
  const [said, config]: [string[], EvalConfig] = [[], configured([sae])];
  const [record] = await evaluate(config, { ...silent, say: (line) => said.push(line) }, never);
  assert.equal(record!.training_curve, null);
  assert.deepEqual(readdirSync(config.out), ['eval.json']);
  assert.ok(said.some((line) => line.includes('metrics.jsonl')) && !said.join().includes('PRIVATE'));
});

test('--hook serves SAEs that name none', async () => {
  const unnamed = await saved(identity(192), { hook_name: null });
  const [record] = await evaluate(configured([unnamed], { hook: HOOK }), silent, never);
  assert.equal(record!.hook, HOOK);
});

test('--overwrite keeps the old evaluation when the new one cannot be made', async () => {
  const config = configured([await saved(identity(192))]);
  await evaluate(config, silent, never);
  const before = readFileSync(join(config.out, 'eval.json'));
  const again = { ...config, overwrite: true, tokens: 20_000_000 };
  await assert.rejects(evaluate(again, silent, never), /--tokens is 20000000/);
  assert.deepEqual(readFileSync(join(config.out, 'eval.json')), before);
});

test('an evaluation of one position is complete, and the report draws it', async () => {
  const config = configured([await saved(identity(192))], { tokens: 1 });
  const [record] = await evaluate(config, silent, never);
  assert.equal(record!.tokens, 1);
  const counts = record!.density_histogram.counts;
  assert.equal(
    counts.reduce((sum, n) => sum + n, 0),
    192,
  );
  assert.match(renderReport(await readEvaluation(config.out)), /<svg/);
});

test('interrupting writes nothing', async () => {
  const config = configured([await saved(identity(192))]);
  await assert.rejects(evaluate(config, silent, { signal: 'SIGINT' }), Interrupted);
  assert.ok(!existsSync(join(config.out, 'eval.json')));
});

test('the leftovers of an evaluation killed while writing are replaced by the same command, a result is not', async () => {
  const config = configured([await saved(identity(192))]);
  mkdirSync(config.out);
  const leave = async (name: string) => {
    writeFileSync(join(config.out, name), '');
    writeFileSync(join(config.out, LOCK_FILE), JSON.stringify(await deadOwner()));
  };
  await leave('training-0.jsonl');
  await evaluate(config, silent, never);
  assert.deepEqual(readdirSync(config.out), ['eval.json']);
  await leave('training-0.jsonl');
  await assert.rejects(evaluate(config, silent, never), /exists and is not empty/);
  assert.deepEqual(readdirSync(config.out), ['eval.json', 'training-0.jsonl']);
});
