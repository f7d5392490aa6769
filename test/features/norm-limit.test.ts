import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { medianOf } from '../../src/activations/statistics.js';
import { type FeaturesConfig, featuresSchema } from '../../src/config/stages/features.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { exploreFolder, indexOf } from '../../src/explore/explorer.js';
import { TriedModel } from '../../src/explore/tried-model.js';
import { collectFeatures } from '../../src/features/features.js';
import { featuresRecord } from '../../src/features/folder.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { initialise } from '../../src/sae/registry.js';
import { square } from '../../src/sae/sae.js';
import { saveSae } from '../../src/sae/saelens.js';
import { run } from '../cli/run-program.js';
import { refuses } from '../config/refuses.js';
import { openGolden } from '../golden.js';
import { runHooks } from '../lm/run-model.js';
import { runForward } from '../sae/run-forward.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { parquetRows } from './golden-folder.js';
import { stopsAt } from './stops-at.js';

const root = temporaryDirectory();
const [HOOK, D, N, CONTEXT, TOKENS, BOS] = ['blocks.3.hook_resid_post', 192, 20, 256, 700, 2];
const model = 'assets/tiny-gemma';
const corpus = 'assets/corpus/validation.jsonl.gz';

const tokens = (await (await openGolden('tiny-gemma')).ints('tokens')).subarray(0, 3 * CONTEXT);
const x = (await runHooks(await openCheckpoint(model), tokens, CONTEXT)).get(HOOK)!;
const norms = Float64Array.from(tokens, (_, t) => Math.hypot(...x.subarray(t * D, (t + 1) * D)));
const counted = [...tokens.keys()].filter((t) => tokens[t] !== BOS).slice(0, TOKENS);
const sorted = counted.map((t) => norms[t]!).sort((a, b) => a - b);
const median = medianOf(Float64Array.from(sorted));
/** Between two norms, so that rounding does not decide: a fifth is above. */
const multiple = (sorted[Math.floor(0.8 * TOKENS)]! + sorted[Math.floor(0.8 * TOKENS) + 1]!) / 2 / median;
const isLong = (t: number) => norms[t]! > multiple * median;

const weights = initialise('standard', square(D, N), 1);
async function saved(name: string, limit: { multiple: number; median: number } | undefined): Promise<string> {
  const directory = join(root, name);
  mkdirSync(directory);
  const rule = limit && { max_activation_norm_multiple: limit.multiple, median_activation_norm: limit.median };
  await saveSae(directory, weights, { hook_name: HOOK, context_size: CONTEXT, ...rule });
  return directory;
}
const [ruled, plain] = [await saved('ruled', { multiple, median }), await saved('plain', undefined)];

const configOf = (out: string, sae: readonly string[], flags: Partial<FeaturesConfig> = {}): FeaturesConfig =>
  featuresSchema.parse({ sae, model, corpus, tokens: TOKENS, batch: 1, threads: 1, out: join(root, out), ...flags });
const never: StopRequest = { signal: undefined };
const recordOf = (out: string) =>
  featuresRecord.parse(JSON.parse(readFileSync(join(root, out, 'features.json'), 'utf8')));

const both = configOf('both', [ruled, plain]);
await collectFeatures(both, silent, never);

test('long positions count in no statistic and no example of an SAE that leaves them out, and in those of others', async () => {
  const { f } = await runForward(weights, x);
  const saes = recordOf('both').saes;
  assert.deepEqual(
    saes.map(({ norm_limit, left_out }) => [norm_limit, left_out]),
    [
      [{ multiple, median }, counted.filter(isLong).length],
      [undefined, undefined],
    ],
  );
  for (const [k, name] of ['ruled', 'plain'].entries()) {
    const positions = counted.filter((t) => k === 1 || !isLong(t));
    const active = Array.from({ length: N }, (_, j) => positions.filter((t) => f[t * N + j]! > 0).length);
    const rows = await parquetRows(join(root, 'both', name, 'features-00000.parquet'));
    for (const [j, row] of rows.entries()) {
      assert.ok(Math.abs(Number(row.active_tokens) - active[j]!) <= 1, `${name}, feature ${j}`);
      assert.equal(row.frequency, Number(row.active_tokens) / positions.length);
      const largest = Math.max(...positions.map((t) => f[t * N + j]!));
      assert.ok(
        Math.abs((row.max as number) - Math.max(0, largest)) <= 1e-4 * Math.abs(largest),
        `${name}, max of ${j}`,
      );
    }
    const total = rows.reduce((sum, row) => sum + Number(row.active_tokens), 0);
    assert.ok(Math.abs(saes[k]!.l0 - total / positions.length) < 1e-9);
    assert.equal(saes[k]!.cofiring_tokens, positions.length);
    const examples = await parquetRows(join(root, 'both', name, 'examples-00000.parquet'));
    let [peaks, shown, silenced] = [0, 0, 0];
    for (const { context, position, first, activations } of examples) {
      const at = (i: number) => Number(context) * CONTEXT + i;
      if (isLong(at(position as number))) peaks++;
      for (const [i, value] of (activations as number[]).entries()) {
        if (!isLong(at((first as number) + i))) continue;
        if (value > 0) shown++;
        else silenced++;
      }
    }
    if (k === 0) assert.deepEqual([peaks, shown, silenced > 0], [0, 0, true]);
    else assert.ok(peaks > 0 && shown > 0);
  }
});

test('a run that is stopped keeps how many it left out, and --all-tokens leaves none out', async () => {
  const { progress, stop } = stopsAt(/^collecting/, 3);
  const config = configOf('stopped', [ruled, plain]);
  await assert.rejects(collectFeatures(config, progress, stop), Interrupted);
  // With another rule, nothing is continued.
  await refuses(
    () => collectFeatures({ ...config, resume: true, allTokens: true }, silent, never),
    'features/other-settings',
  );
  await collectFeatures({ ...config, resume: true }, silent, never);
  assert.deepEqual(filesBelow(config.out), filesBelow(both.out));

  const all = join(root, 'all');
  const flags = ['--sae', ruled, '--model', model, '--corpus', corpus, '--tokens', String(TOKENS), '--batch', '1'];
  const { code, stderr } = await run('features', ...flags, '--threads', '1', '--out', all, '--all-tokens');
  assert.equal(code, 0, stderr);
  assert.equal(recordOf('all').saes[0]!.left_out, undefined);
  for (const kind of ['features', 'examples']) {
    const bytes = (folder: string) => readFileSync(join(folder, `${kind}-00000.parquet`));
    assert.ok(bytes(join(all, 'ruled')).equals(bytes(join(both.out, 'plain'))), kind);
  }
});

test('an SAE for which every position is too long is refused, and leaves no folder', async () => {
  const none = await saved('none', { multiple, median: 1e-6 * median });
  const config = configOf('nothing', [none]);
  await refuses(() => collectFeatures(config, silent, never), 'features/nothing-counts', none);
  assert.throws(() => recordOf('nothing'));
});

test('explore shows how many tokens count, and which are long in a text that is tried', async (t) => {
  const explorer = await exploreFolder(both.out, silent);
  const live = { list: true, labels: true, text: true };
  const [first, second] = indexOf(explorer, live).saes;
  const left = counted.filter(isLong).length;
  assert.deepEqual([first!.tokens, first!.leftOut], [TOKENS - left, { tokens: left, multiple }]);
  assert.deepEqual([second!.tokens, second!.leftOut], [TOKENS, null]);
  const settings = { directory: model, folder: both.out, record: explorer.record, device: 'cpu', precision: 'float32' };
  const tried = await TriedModel.open({ ...settings, threads: 1 } as Parameters<typeof TriedModel.open>[0]);
  t.after(() => tried.close());
  const text = 'The old man went down to the sea. He looked at the boats and thought of his wife, who was at home.';
  const { saes, heat, tokens: ids } = await tried.run({ text, feature: { sae: 'ruled', feature: 3 }, count: N });
  const read = (await runHooks(await openCheckpoint(model), Int32Array.from(ids), ids.length)).get(HOOK)!;
  const long = [...ids.keys()].filter((i) => {
    return ids[i] !== BOS && Math.hypot(...read.subarray(i * D, (i + 1) * D)) > multiple * median;
  });
  assert.ok(long.length > 0);
  assert.deepEqual(
    saes.map((sae) => sae.long),
    [long, []],
  );
  for (const i of long) assert.deepEqual([saes[0]!.top[i], heat![i]], [[], 0]);
  assert.deepEqual(
    saes[0]!.top.map((top, i) => long.includes(i) || JSON.stringify(top) === JSON.stringify(saes[1]!.top[i])),
    ids.map(() => true),
  );
});
