import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { loadConfig } from '../../src/config/load.js';
import { lockDirectory } from '../../src/disk/lock.js';
import { Interrupted, Refusal } from '../../src/errors/refusal.js';
import type { EvalRecord } from '../../src/eval/record.js';
import { type Progress, type StopRequest, silent } from '../../src/progress/progress.js';
import { evaluationConfig, sweep } from '../../src/sweep/sweep.js';
import { train } from '../../src/train/train.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';

const HOOK = 'blocks.1.hook_mlp_out';
const never: StopRequest = { signal: undefined };
const root = temporaryDirectory();
const whole = join(root, 'whole');

const HARVEST = `harvest: {model: assets/tiny-gemma, corpus: assets/corpus/validation.jsonl.gz, hook: ${HOOK}, tokens: 4000, context: 128, rows-per-shard: 1000}
`;
/** Once the first sweep has harvested, others train on its store. */
const STORED = `sweep: {activations: ${join(whole, 'activations')}, hook: ${HOOK}, `;

const yaml = (name: string, runs: string, harvest = HARVEST) => {
  const file = join(root, `${name}.yaml`);
  writeFileSync(
    file,
    `${harvest === STORED ? '' : harvest}train: {steps: 25, batch: 128, d-sae: 200, lr: 0.001, log-every: 5, dead-window: 300, resample-at: [10], resample-inputs: 900}
${harvest === STORED ? STORED : 'sweep: {'}seed: [0, 1], runs: ${runs}}
eval: {model: assets/tiny-gemma, corpus: assets/corpus/validation.jsonl.gz, tokens: 250}
report: {title: A sweep}
`,
  );
  return file;
};
const RUNS = '[{arch: gated, l1: [2, 6]}, {arch: standard, l1: [3], d-sae: 300}]';
const run = (out: string, file: string, stop = never, progress = silent) =>
  sweep(loadConfig('sweep', { out }, file), file, progress, stop);
const saesOf = (out: string) => {
  const files = filesBelow(join(out, 'saes'));
  // The one file with times in it.
  for (const name of files.keys()) if (name.endsWith('metrics.jsonl')) files.delete(name);
  return files;
};

before(async () => {
  const { outcomes, records, report } = await run(whole, yaml('whole', RUNS));
  assert.equal(outcomes.length, 6);
  assert.equal(records.length, 6);
  assert.match(readFileSync(report!, 'utf8'), /A sweep/);
});

test('every SAE has the bytes that train alone gives it', async () => {
  const file = yaml('alone', RUNS);
  for (const [arch, l1, dSae, seed] of [
    ['gated', 2, 200, 0],
    ['gated', 6, 200, 1],
    ['standard', 3, 300, 1],
  ] as const) {
    const name = `${arch}_d-sae-${dSae}_l1-${l1}_seed-${seed}`;
    const activations = join(whole, 'activations', HOOK);
    const out = join(root, name);
    const given = { arch, l1, seed, 'd-sae': dSae, activations, out, threads: 1 };
    await train(loadConfig('train', given, file), silent, never);
    for (const each of ['cfg.json', 'sae_weights.safetensors']) {
      assert.deepEqual(readFileSync(join(whole, 'saes', HOOK, name, each)), readFileSync(join(out, each)), name);
    }
  }
});

/** test/faults/kill-sweep.test.ts has one interruption. */
const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

test('interrupted repeatedly, it resumes where it stopped and ends in the same bytes', onDemand, async () => {
  const out = join(root, 'interrupted');
  const file = yaml('interrupted', RUNS);
  let interruptions = 0;
  for (;;) {
    const stop: StopRequest = { signal: undefined };
    let updates = 0;
    const update = () => {
      if (++updates > 60) stop.signal = 'SIGTERM';
    };
    try {
      await run(out, file, stop, { ...silent, table: () => ({ update, finish() {} }) });
      break;
    } catch (error) {
      assert.ok(error instanceof Interrupted, String(error));
      assert.match(error.message, /continue with the same command/);
      interruptions++;
    }
  }
  assert.ok(interruptions > 1, `${interruptions} interruptions`);
  assert.deepEqual(saesOf(out), saesOf(whole));
});

test('finished SAEs are skipped, a missing one is trained again, and nothing is evaluated twice', async () => {
  const out = join(root, 'again');
  const file = yaml('again', '[{arch: gated, l1: [2, 6]}]', STORED);
  await run(out, file);
  const before = saesOf(out);
  const evaluation = join(out, 'eval', 'eval.json');
  const first = statSync(evaluation).mtimeMs;
  const evaluated = readFileSync(evaluation);
  const { outcomes } = await run(out, file);
  assert.ok(outcomes.every(({ state }) => state === 'finished before'));
  assert.equal(statSync(evaluation).mtimeMs, first);
  rmSync(join(out, 'saes', HOOK, 'gated_d-sae-200_l1-6_seed-1'), { recursive: true });
  const restarted = await run(out, file);
  assert.deepEqual(
    restarted.outcomes.filter(({ state }) => state === 'trained').map(({ run: { name } }) => name),
    [join(HOOK, 'gated_d-sae-200_l1-6_seed-1')],
  );
  assert.deepEqual(saesOf(out), before);
  const second = statSync(evaluation).mtimeMs;
  assert.notEqual(second, first);
  // In the same order, though other SAEs were whole before.
  assert.deepEqual(readFileSync(evaluation), evaluated);
  await run(out, file);
  assert.equal(statSync(evaluation).mtimeMs, second);
});

test('a sweep in stages, each continued by the next command, ends with all of it', async () => {
  const until = async (stage: string | undefined, out: string, file: string) =>
    sweep(loadConfig('sweep', { out, ...(stage && { until: stage }) }, file), file, silent, never);
  const harvested = await until('harvest', whole, join(root, 'whole.yaml'));
  assert.deepEqual([harvested.outcomes, harvested.report], [[], undefined]);
  const out = join(root, 'stages');
  const file = yaml('stages', '[{arch: gated, l1: [2], seed: [0]}]', STORED);
  const there = () => ['eval/eval.json', 'report.html'].map((name) => existsSync(join(out, name)));
  assert.deepEqual((await until('train', out, file)).records, []);
  assert.deepEqual(there(), [false, false]);
  assert.equal((await until('eval', out, file)).records.length, 1);
  assert.deepEqual(there(), [true, false]);
  const { outcomes, report } = await until(undefined, out, file);
  assert.deepEqual(
    outcomes.map(({ state }) => state),
    ['finished before'],
  );
  assert.deepEqual([report, ...there()], [join(out, 'report.html'), true, true]);
});

test('shares train separately what one sweep trains, and the sweep after them evaluates it to the same bytes', async () => {
  const out = join(root, 'shared');
  const file = yaml('shared', RUNS, STORED);
  const share = (shard: string, rest: object = {}) =>
    sweep(loadConfig('sweep', { out, shard, ...rest }, file), file, silent, never);
  for (const [given, code] of [
    [() => share('2/2'), 'harvest/no-such-part'],
    [() => share('0/2', { until: 'eval' }), 'sweep/share-of-stage'],
  ] as const) {
    await refusesUsage(given, code);
  }
  assert.ok(!existsSync(out), 'a share that is refused leaves nothing');
  const [first, second] = [await share('0/2'), await share('1/2')];
  assert.deepEqual([first.outcomes.length, second.outcomes.length], [3, 3]);
  assert.ok(!existsSync(join(out, 'eval')));
  assert.deepEqual(saesOf(out), saesOf(whole));
  const { outcomes, records } = await run(out, file);
  assert.deepEqual([...new Set(outcomes.map(({ state }) => state))], ['finished before']);
  assert.equal(records.length, 6);
  // A share is not trained into a sweep that runs.
  const lock = await lockDirectory(out);
  await refuses(() => share('0/2'), 'disk/in-use');
  await lock.release();
});

test('a share is refused before the stores are complete', async () => {
  const out = join(root, 'early');
  const file = yaml('early', RUNS);
  await refuses(
    () => sweep(loadConfig('sweep', { out, shard: '0/2' }, file), file, silent, never),
    'activations/not-a-store',
  );
  assert.ok(!existsSync(out));
});

test('a run may start from an SAE of the same sweep, which is trained before', async () => {
  const out = join(root, 'waves');
  const first = join(out, 'saes', HOOK, 'gated_d-sae-200_l1-2_seed-0');
  const file = yaml('waves', `[{arch: gated, seed: 0, l1: 9, init: ${first}}, {arch: gated, seed: 0, l1: 2}]`, STORED);
  const { outcomes } = await run(out, file);
  assert.deepEqual(
    outcomes.map(({ run: { name } }) => name),
    ['gated_d-sae-200_l1-2_seed-0', 'gated_d-sae-200_l1-9_seed-0_init-gated_d-sae-200_l1-2_seed-0'].map((name) =>
      join(HOOK, name),
    ),
  );
});

test('a run that fails is named at the end, and the others are complete', async () => {
  const out = join(root, 'failing');
  const file = yaml('failing', '[{arch: gated, l1: [2]}, {arch: gated, l1: [6], lr: 1.0e+30, beta1: 0.9}]', STORED);
  await assert.rejects(run(out, file), (error: unknown) => {
    assert.ok(error instanceof Refusal);
    assert.match(error.message, /2 of 4 SAEs failed.*l1-6_seed-0.*(The loss is|After step)/);
    return true;
  });
  assert.ok(existsSync(join(out, 'saes', HOOK, 'gated_d-sae-200_l1-2_seed-1', 'cfg.json')));
  assert.ok(existsSync(join(out, 'report.html')));
});

test('an evaluation that cannot be made is refused before anything is harvested', async () => {
  const out = join(root, 'no-evaluation');
  const text = readFileSync(yaml('no-evaluation', RUNS), 'utf8');
  for (const [from, to, said] of [
    [/(eval: .*corpus: )[^,]*/, '$1nowhere.txt', /nowhere\.txt/],
    [/(eval: .*)corpus: [^,]*, /, '$1', /--corpus is missing/],
    [/(eval: .*)tokens: 250/, '$1tokens: none', /eval\.tokens/],
    [/title: A sweep/, 'titel: A sweep', /report\.titel/],
  ] as const) {
    const file = join(root, 'no-evaluation.yaml');
    writeFileSync(file, text.replace(from, to));
    await assert.rejects(run(out, file), said);
    assert.ok(!existsSync(join(out, 'activations')), String(said));
  }
});

test('the evaluation is of the model that was harvested where it names none', () => {
  const file = yaml('one-model', RUNS);
  writeFileSync(file, readFileSync(file, 'utf8').replace('eval: {model: assets/tiny-gemma, ', 'eval: {'));
  const config = loadConfig('sweep', { out: join(root, 'one-model') }, file);
  assert.equal(evaluationConfig(config, file, ['sae']).model, 'assets/tiny-gemma');
});

test('another setting than that of a finished SAE is refused with the difference', async () => {
  const file = yaml('whole', RUNS);
  writeFileSync(file, readFileSync(file, 'utf8').replace('lr: 0.001', 'lr: 0.002'));
  await assert.rejects(run(whole, file), /lr = 0\.001, but this command has 0\.002/);
});

test('an evaluation is reused only if none of its inputs has changed', onDemand, async () => {
  const out = join(root, 'stale');
  const file = yaml('stale', '[{arch: gated, seed: 0, l1: [2]}]', STORED);
  const text = join(root, 'text.jsonl');
  const words = (n: number) =>
    `${JSON.stringify({ text: `${n} ${'The cat sat on the mat. '.repeat(300)}` })}\n`.repeat(3);
  writeFileSync(text, words(1));
  const evalLine = (settings: string) =>
    writeFileSync(
      file,
      readFileSync(file, 'utf8').replace(
        /^eval: .*$/m,
        `eval: {model: assets/tiny-gemma, corpus: ${text}, ${settings}}`,
      ),
    );
  const path = join(out, 'eval', 'eval.json');
  const settings = () => (JSON.parse(readFileSync(path, 'utf8')) as EvalRecord[]).map((record) => record.settings);
  /** Runs the sweep; was everything evaluated again? */
  const again = async () => {
    const labels: string[] = [];
    const { outcomes } = await run(out, file, never, { ...silent, begin: (label) => labels.push(label) });
    assert.ok(outcomes.every(({ state }) => state === 'finished before'));
    return labels.some((label) => label.startsWith('evaluating'));
  };
  evalLine('tokens: 200');
  await run(out, file);
  assert.equal(await again(), false);
  for (const change of [
    'tokens: 201',
    'tokens: 201, batch: 4',
    'tokens: 201, mean-ablation: true',
    'tokens: 201, context: 64',
  ]) {
    evalLine(change);
    assert.equal(await again(), true, change);
    assert.equal(await again(), false, change);
  }
  writeFileSync(text, words(2));
  assert.equal(await again(), true, 'another text of the same size under the same name');
  assert.equal(await again(), false);
  const weights = join(out, 'saes', HOOK, 'gated_d-sae-200_l1-2_seed-0', 'sae_weights.safetensors');
  const bytes = readFileSync(weights);
  const before = settings()[0]!.sae_sha256;
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(weights, bytes);
  assert.equal(await again(), true, 'another SAE under the same name');
  assert.notEqual(settings()[0]!.sae_sha256, before);
  assert.equal(await again(), false);
  const records = JSON.parse(readFileSync(path, 'utf8')) as EvalRecord[];
  for (const [key, value] of Object.entries({ version: '0.0.0', model_fingerprint: 'x', precision: 'float16' })) {
    writeFileSync(
      path,
      JSON.stringify(records.map((record) => ({ ...record, settings: { ...record.settings, [key]: value } }))),
    );
    assert.equal(await again(), true, key);
  }
  writeFileSync(path, JSON.stringify(records.map(({ settings: _, ...record }) => record)));
  assert.equal(await again(), true, 'a record that does not say what it was made of');
});

test('a broken eval.json is reported and made again', onDemand, async () => {
  const out = join(root, 'broken');
  const file = yaml('broken', '[{arch: gated, seed: 0, l1: [2]}]', STORED);
  await run(out, file);
  const path = join(out, 'eval', 'eval.json');
  const whole = readFileSync(path, 'utf8');
  for (const broken of ['', whole.slice(0, 100), '{}', '[{"sae": 3}]', '[]']) {
    writeFileSync(path, broken);
    const said: string[] = [];
    const { records } = await run(out, file, never, { ...silent, say: (line) => said.push(line) });
    assert.equal(records.length, 1);
    assert.equal(
      said.filter((line) => line.includes(path) && line.endsWith('The SAEs are evaluated again.')).length,
      1,
    );
    assert.equal(readFileSync(path, 'utf8'), whole, broken);
  }
});

test('the live table knows how long each run is, from --steps or --tokens', onDemand, async () => {
  for (const [length, total] of [
    ['', 3968],
    ['steps: 3,', 384],
    ['tokens: 1000,', 896],
  ] as const) {
    const file = yaml('table', '[{arch: gated, seed: 0, l1: [2]}]', STORED);
    writeFileSync(file, readFileSync(file, 'utf8').replace('steps: 25,', length).replace('resample-at: [10], ', ''));
    const totals: number[] = [];
    let last = 0;
    const table: Progress['table'] = (_, rows) => {
      totals.push(...rows.map((row) => row.total));
      return {
        update: (_, done) => {
          last = done;
        },
        finish() {},
      };
    };
    await run(join(root, `table-${total}`), file, never, { ...silent, table });
    assert.deepEqual(totals, [total]);
    assert.equal(last, total);
  }
});

test('--hook of a sweep over several hooks selects the runs at it', async () => {
  const out = join(root, 'selected');
  const file = yaml(
    'selected',
    `[{arch: gated, seed: 0, l1: 2, hook: ${HOOK}}, {arch: standard, seed: 0, l1: 2, hook: blocks.2.hook_mlp_out}]`,
  );
  writeFileSync(
    file,
    readFileSync(file, 'utf8').replace(`hook: ${HOOK}, tokens`, `hook: [${HOOK}, blocks.2.hook_mlp_out], tokens`),
  );
  const { outcomes } = await sweep(loadConfig('sweep', { out, hook: [HOOK] }, file), file, silent, never);
  assert.deepEqual(
    outcomes.map(({ run: { name } }) => name),
    [join(HOOK, 'gated_d-sae-200_l1-2_seed-0')],
  );
  await assert.rejects(
    sweep(loadConfig('sweep', { out, hook: ['blocks.0.hook_mlp_out'] }, file), file, silent, never),
    /no run at blocks\.0\.hook_mlp_out/,
  );
});
