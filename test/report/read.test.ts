import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { readEvaluation } from '../../src/eval/record.js';
import { curve, evalRecord, fullSweep } from './sample.js';

let root = '';
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'sae-pipe-report-'));
});
after(() => rm(root, { recursive: true, force: true }));

let count = 0;
async function directory(evalJson: unknown, files: Record<string, string> = {}): Promise<string> {
  const path = join(root, String(count++));
  await mkdir(path);
  if (evalJson !== undefined) {
    await writeFile(join(path, 'eval.json'), typeof evalJson === 'string' ? evalJson : JSON.stringify(evalJson));
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
  return path;
}

async function refused(path: string, message: RegExp): Promise<void> {
  await assert.rejects(readEvaluation(path), (error) => {
    assert.ok(error instanceof Refusal, `${error} is no Refusal`);
    assert.match(error.message, message);
    assert.ok(error.remedy, 'a remedy');
    return true;
  });
}

const jsonLines = (lines: readonly object[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('');

test('records and curves are read back as they were, unknown keys ignored', async () => {
  const record = evalRecord({ training_curve: 'a.metrics.jsonl' });
  const path = await directory([{ ...record, later_addition: 1 }, evalRecord({ sae: 'runs/b' })], {
    'a.metrics.jsonl': jsonLines(curve(3)),
  });
  assert.deepEqual(await readEvaluation(path), [
    { record, curve: curve(3) },
    { record: evalRecord({ sae: 'runs/b' }), curve: [] },
  ]);
});

test('what newer evaluations measure is read if present', async () => {
  const { record } = fullSweep()[0]!;
  assert.ok(record.intervals && record.l0_histogram && record.loss_by_position && record.decoder_max_cosine);
  const read = (await readEvaluation(await directory([{ ...record, ce_mean: null }])))[0]!.record;
  assert.deepEqual(read, { ...record, ce_mean: null });
  const histogram = { edges: [0, 1], counts: [1, 2] };
  await refused(
    await directory([{ ...record, l0_histogram: histogram }]),
    /l0_histogram: expected one more edge than counts/,
  );
  const positions = { edges: [1, 5], ce_clean: [1], ce_spliced: [1, 2], ce_zero: [1] };
  await refused(
    await directory([{ ...record, loss_by_position: positions }]),
    /loss_by_position: expected one more edge/,
  );
  await refused(await directory([{ ...record, intervals: { l0: [1] } }]), /intervals\.l0/);
});

test('null is read as NaN', async () => {
  const path = await directory([{ ...evalRecord(), kl: Number.NaN }]);
  assert.ok(Number.isNaN((await readEvaluation(path))[0]!.record.kl));
});

test('half a line at the end of a curve is skipped, elsewhere it is refused', async () => {
  const [first, second] = jsonLines(curve(2)).split('\n');
  const record = evalRecord({ training_curve: 'm.jsonl' });
  const killed = await directory([record], { 'm.jsonl': `${first}\n${second!.slice(0, 30)}` });
  assert.equal((await readEvaluation(killed))[0]!.curve.length, 1);
  const unended = await directory([record], { 'm.jsonl': `${first}\n${second}` });
  assert.equal((await readEvaluation(unended))[0]!.curve.length, 2);
  await refused(
    await directory([record], { 'm.jsonl': `${first!.slice(0, 30)}\n${second}\n` }),
    /m\.jsonl, line 1, .*not valid JSON/,
  );
  await refused(
    await directory([record], { 'm.jsonl': '{"step":1}\n' }),
    /m\.jsonl, line 1, .*tokens: .*expected number/,
  );
});

test('what is not an evaluation is refused by name', async () => {
  await refused(join(root, 'absent'), /The directory .*absent does not exist/);
  await refused(await directory(undefined), /has no eval\.json/);
  await refused(await directory('[{'), /eval\.json is not valid JSON/);
  await refused(await directory([]), /contains no SAE/);
  await refused(await directory({ sae: 'a' }), /eval\.json: expected array/);
  const { l0: _, ...without } = evalRecord();
  await refused(await directory([evalRecord(), without]), /eval\.json: \[1\]\.l0: expected number/);
  await refused(await directory([{ ...evalRecord(), cosine: 'high' }]), /\[0\]\.cosine: expected number/);
  const histogram = { log10_edges: [-1, 0], counts: [1, 2], dead: 0 };
  await refused(
    await directory([{ ...evalRecord(), density_histogram: histogram }]),
    /density_histogram: expected one more edge/,
  );
  const path = await directory(undefined);
  await mkdir(join(path, 'eval.json'));
  await refused(path, /eval\.json is not a file/);
});

test('a training curve must be the plain name of an existing file', async () => {
  await writeFile(join(root, 'outside.jsonl'), jsonLines(curve(1)));
  for (const name of ['../outside.jsonl', join(root, 'outside.jsonl'), '..\\outside.jsonl', '..', '', 'a/b', 'a\0b']) {
    await refused(await directory([evalRecord({ training_curve: name })]), /is not a plain file name/);
  }
  await refused(
    await directory([evalRecord({ training_curve: 'gone.jsonl' })]),
    /gone\.jsonl, a training curve .* does not exist/,
  );
});

test('values that nothing measures are refused: axes over all doubles would have no ticks', async () => {
  for (const value of [1e308, -1e308, 5e-324]) {
    for (const key of ['l0', 'ce_zero', 'delta_ce'] as const) {
      await refused(
        await directory([evalRecord({ [key]: value })]),
        new RegExp(`\\[0\\]\\.${key}: not a plausible value`),
      );
    }
  }
  await readEvaluation(await directory([evalRecord({ l0: 0, ce_zero: 1e6, delta_ce: -1e-12 })]));
});
