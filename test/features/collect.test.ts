import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type FeaturesConfig, featuresSchema } from '../../src/config/stages/features.js';
import { Refusal } from '../../src/errors/refusal.js';
import { collectFeatures } from '../../src/features/features.js';
import { featuresRecord } from '../../src/features/folder.js';
import { saeNames } from '../../src/features/sae-names.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { silent } from '../../src/progress/progress.js';
import { initialise } from '../../src/sae/registry.js';
import { PLAIN, type Sae, square } from '../../src/sae/sae.js';
import { saveSae } from '../../src/sae/saelens.js';
import { openGolden } from '../golden.js';
import { runHooks } from '../lm/run-model.js';
import { runForward } from '../sae/run-forward.js';
import { temporaryDirectory } from '../temporary.js';
import { parquetRows } from './golden-folder.js';

const root = temporaryDirectory();
const CONTEXT = 256;
const [D_MODEL, D_FF, N] = [192, 768, 20];

async function saved(name: string, sae: Sae, hook_name: string, hook_name_out?: string): Promise<string> {
  const directory = join(root, name);
  mkdirSync(directory, { recursive: true });
  const metadata = { hook_name, context_size: CONTEXT, ...(hook_name_out !== undefined && { hook_name_out }) };
  await saveSae(directory, sae, metadata);
  return directory;
}

const transcoder: Sae = {
  ...initialise('standard', square(D_MODEL, N), 3),
  ...{ transcoder: true, forward: { ...PLAIN, apply_b_dec_to_input: false } },
};
const saes = {
  residual: await saved('a/sae', initialise('standard', square(D_MODEL, N), 1), 'blocks.3.hook_resid_post'),
  gate: await saved('b/sae', initialise('gated', square(D_FF, N), 2), 'blocks.0.mlp.hook_pre'),
  transcoder: await saved('<b>"x"', transcoder, 'blocks.1.mlp.hook_in', 'blocks.1.hook_mlp_out'),
};

const configOf = (out: string, sae: readonly string[], flags: Partial<FeaturesConfig> = {}): FeaturesConfig =>
  featuresSchema.parse({
    ...{ sae, model: 'assets/tiny-gemma', corpus: 'assets/corpus/validation.jsonl.gz', tokens: 700, threads: 1 },
    ...{ out, ...flags },
  });
const collect = (config: FeaturesConfig) => collectFeatures(config, silent, { signal: undefined });
const filesOf = (out: string, folder: string) =>
  ['features', 'examples'].map((kind) => readFileSync(join(out, folder, `${kind}-00000.parquet`)));

const all = join(root, 'all');
await collect(configOf(all, Object.values(saes)));
const record = featuresRecord.parse(JSON.parse(readFileSync(join(all, 'features.json'), 'utf8')));

test('SAEs of several hooks in one pass give what each gives alone', async () => {
  for (const [i, sae] of Object.values(saes).entries()) {
    const alone = join(root, `alone-${i}`);
    await collect(configOf(alone, [sae]));
    const { folder } = record.saes[i]!;
    const own = featuresRecord.parse(JSON.parse(readFileSync(join(alone, 'features.json'), 'utf8'))).saes[0]!;
    assert.deepEqual(filesOf(alone, own.folder), filesOf(all, folder));
  }
});

test('directories are named so that every file system and URL takes them', () => {
  assert.deepEqual(
    record.saes.map(({ name, folder }) => [name, folder]),
    [
      ['a/sae', 'a-sae'],
      ['b/sae', 'b-sae'],
      ['<b>"x"', '_b__x_'],
    ],
  );
  const folders = saeNames(['/x/A', '/x/a', '/y/..a', `/z/${'n'.repeat(300)}`, '/v/é', '/v/è']).map((n) => n.folder);
  assert.equal(new Set(folders.map((name) => name.toLowerCase())).size, folders.length);
  for (const folder of folders) assert.match(folder, /^(?!\.)[A-Za-z0-9._-]{1,200}$/);
});

test("a transcoder's f is of its input, its logits are of its output; where no linear path leads, there are none", async () => {
  const [residual, gate, other] = record.saes;
  assert.deepEqual([other!.hook, other!.hook_out], ['blocks.1.mlp.hook_in', 'blocks.1.hook_mlp_out']);
  const logits = async ({ folder }: { folder: string }) =>
    (await parquetRows(join(all, folder, 'features-00000.parquet'))).map((row) => row.top_logits as number[]);
  assert.ok((await logits(residual!)).every((list) => list.length === 10));
  assert.ok((await logits(other!)).every((list) => list.length === 10));
  assert.ok((await logits(gate!)).every((list) => list.length === 0));

  const tokens = (await (await openGolden('tiny-gemma')).ints('tokens')).subarray(0, 3 * CONTEXT);
  const hooks = await runHooks(await openCheckpoint('assets/tiny-gemma'), tokens, CONTEXT);
  const { f } = await runForward(transcoder, hooks.get('blocks.1.mlp.hook_in')!);
  const positions = [...tokens.keys()].filter((t) => tokens[t] !== 2).slice(0, 700);
  const expected = Array.from({ length: N }, (_, j) => positions.filter((t) => f[t * N + j]! > 0).length);
  const rows = await parquetRows(join(all, other!.folder, 'features-00000.parquet'));
  for (const [j, row] of rows.entries()) {
    assert.ok(Math.abs(Number(row.active_tokens) - expected[j]!) <= 1, `feature ${j}`);
  }
  // The last context is counted in part; windows show f beyond that.
  const last = positions.at(-1)! - 2 * CONTEXT;
  const examples = await parquetRows(join(all, other!.folder, 'examples-00000.parquet'));
  assert.ok(examples.every(({ context, position }) => Number(context) < 2 || (position as number) <= last));
  const beyond = examples.filter(({ context, position, first, activations }) => {
    const shown = (activations as number[]).slice(last + 1 - (first as number));
    return Number(context) === 2 && (position as number) + 8 > last && shown.some((value) => value > 0);
  });
  assert.ok(beyond.length > 0);
});

test('an SAE whose f overflows is refused by name, and leaves no folder', async () => {
  const sae = initialise('standard', square(D_MODEL, N), 4);
  sae.parameters.W_enc!.fill(3e38);
  const out = join(root, 'overflow');
  await assert.rejects(collect(configOf(out, [await saved('big', sae, 'blocks.1.hook_resid_post')])), (error) => {
    assert.ok(error instanceof Refusal && error.code === 'features/not-finite', String(error));
    return true;
  });
  assert.throws(() => readFileSync(join(out, 'features.json')));
});
