import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ActivationSource, Order } from '../../src/activations/activation-source.js';
import { type Manifest, readManifest, writeManifest } from '../../src/activations/manifest.js';
import type { Rows } from '../../src/activations/rows.js';
import { openStoreSource } from '../../src/activations/store-source.js';
import { StoreWriter, Window } from '../../src/activations/store-writer.js';
import { activationDTypes } from '../../src/config/values.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { context, emptyManifest, numberedRows } from './synthetic.js';

const INPUT = 'blocks.0.ln2.hook_normalized';
const OUTPUT = 'blocks.0.hook_mlp_out';
/** Rows of the store: three windows of 24, 24 and 12. */
const ROWS = 60;

/** Widths of input and target. */
const [D_IN, D_OUT] = [2, 5];

/** Writes a store whose row r of the text has r in its first entry, whatever its width. */
async function written(
  directory: string,
  settings: Partial<Manifest>,
  change: (rows: Rows) => Rows = (rows) => rows,
): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const manifest = emptyManifest(ROWS, { d_in: D_IN, hook: INPUT, ...settings });
  const writer = new StoreWriter(directory, manifest);
  for (let index = 0, first = 0; first < ROWS; index++) {
    const rows = Math.min(24, ROWS - first);
    const window = new Window(index, manifest.d_in, manifest.dtype);
    window.contexts.push(...Array.from({ length: rows / 4 }, (_, i) => context(first / 4 + i)));
    window.add(
      change(numberedRows(rows, manifest.d_in, manifest.dtype, first)),
      new Float32Array(rows).fill(manifest.d_in),
    );
    await writer.writeWindow(window);
    first += rows;
  }
  return directory;
}

const TARGET = { hook: OUTPUT, d_in: D_OUT };

async function pair(t: TestContext, target: Partial<Manifest> = {}, change?: (rows: Rows) => Rows) {
  const root = temporaryDirectory(t);
  return {
    activations: await written(join(root, INPUT), target.dtype ? { dtype: target.dtype } : {}),
    target: await written(join(root, OUTPUT), { ...TARGET, ...target }, change),
  };
}

/** First entries of inputs and targets of `count` rows, from row `from` on. */
async function dealt(source: ActivationSource, order: Order, count: number, from = 0) {
  const batches = source.batches(order, 7);
  await batches.seek(from);
  const { x, y } = await batches.next(count);
  const first = (values: ArrayLike<number>, d: number) => Array.from({ length: count }, (_, i) => values[i * d]!);
  assert.deepEqual([x.length, y!.length], [count * D_IN, count * D_OUT]);
  return { x: first(x, D_IN), y: first(y!, D_OUT) };
}

test('two stores of one harvest are dealt row by row, in every order and element type', async (t) => {
  for (const dtype of activationDTypes) {
    const source = await openStoreSource({ ...(await pair(t, { dtype })), poolRows: 25 });
    assert.equal(source.about.hook, INPUT);
    assert.deepEqual(source.about.target, { hook: OUTPUT, dOut: D_OUT, meanNorm: D_OUT });
    for (const order of ['shuffled', 'stored'] as const) {
      const { x, y } = await dealt(source, order, 2 * ROWS);
      assert.deepEqual(y, x);
      assert.equal(new Set(x.slice(0, ROWS)).size, ROWS, 'each row once an epoch');
    }
    const whole = await dealt(source, 'shuffled', 2 * ROWS);
    const later = await dealt(source, 'shuffled', 30, 50);
    assert.deepEqual(later.y, whole.y.slice(50, 80), 'seeking is dealing to there');
    for await (const { activation, target } of source.batches('shuffled', 7).inputs(3)) {
      const rows = activation.length / D_IN;
      assert.equal(target!.length, rows * D_OUT);
      for (let i = 0; i < rows; i++) assert.equal(target![i * D_OUT], activation[i * D_IN]);
    }
  }
});

test('a target changes the identity of a source, and the pool holds both', async (t) => {
  const directories = await pair(t);
  const [one, both] = [
    await openStoreSource({ activations: directories.activations }),
    await openStoreSource(directories),
  ];
  assert.equal(one.about.target, undefined);
  assert.notEqual(both.about.identity, one.about.identity);
  const { target: _, identity: _i, ...same } = both.about;
  assert.deepEqual({ ...same, identity: one.about.identity }, one.about);
  assert.ok(both.memory('shuffled').held > 1.5 * one.memory('shuffled').held);
  assert.deepEqual(Object.keys(await one.batches('stored', 0).next(3)), ['x']);
});

test("a batch's memory is reused if it fits", async (t) => {
  const batches = (await openStoreSource(await pair(t))).batches('stored', 0);
  const first = await batches.next(4);
  const second = await batches.next(4, first);
  assert.equal(second.x, first.x);
  assert.equal(second.y, first.y);
  assert.notEqual((await batches.next(5, second)).x, first.x);
});

test('stores harvested with different settings are refused with the difference', async (t) => {
  const others: [Partial<Manifest>, string][] = [
    [{ seed: 2 }, 'seed (1 and 2)'],
    [{ rows_per_shard: 12 }, 'rows_per_shard (10 and 12)'],
    [{ window_batches: 6 }, 'window_batches'],
    [{ batch: 4 }, 'batch'],
    [{ context: 6 }, 'context'],
    [{ model: { name: 'm', fingerprint: 'g' } }, 'model'],
    [{ precision: 'bfloat16' }, 'precision'],
    [{ exclude_special_tokens: [7] }, 'exclude_special_tokens'],
  ];
  for (const [settings, what] of others) {
    const { activations, target } = await pair(t, settings);
    await refuses(() => openStoreSource({ activations, target }), 'activations/not-aligned', activations, target, what);
  }
  const { activations } = await pair(t);
  const halves = await written(join(temporaryDirectory(t), OUTPUT), { ...TARGET, dtype: 'float16' });
  await refuses(() => openStoreSource({ activations, target: halves }), 'activations/not-aligned', 'dtype');
});

test('another text with equal settings is refused by its contexts', async (t) => {
  const { activations, target } = await pair(t);
  const manifest = await readManifest(target);
  const other = await written(join(temporaryDirectory(t), 'other'), TARGET);
  manifest.contexts[1]!.sha256 = '0'.repeat(64);
  await writeManifest(other, manifest);
  await refuses(
    () => openStoreSource({ activations, target: other }),
    'activations/not-aligned',
    'the text of their contexts',
  );
});

test('rows of other positions are found in the shard that has them, whatever the manifests say', async (t) => {
  for (const column of ['token', 'context', 'pos'] as const) {
    const swap = (rows: Rows) => {
      // Row 30 of the text.
      const at = rows.context.indexOf(7);
      if (at >= 0) rows[column][at + 2]! += 1;
      return rows;
    };
    const source = await openStoreSource({ ...(await pair(t, {}, swap)), poolRows: 1 });
    const batches = source.batches('stored', 0);
    await batches.next(20);
    await refuses(
      async () => {
        for (let row = 0; row < 10; row++) await batches.next(1);
      },
      'activations/not-aligned',
      '(context 7, position 3)',
    );
  }
});

test('a target that is incomplete, or not a store, is refused', async (t) => {
  const { activations } = await pair(t);
  await refuses(() => openStoreSource({ activations, target: temporaryDirectory(t) }), 'activations/not-a-store');
  const part = temporaryDirectory(t);
  const manifest = emptyManifest(ROWS, { ...TARGET });
  const window = new Window(0, D_OUT, 'float32');
  window.contexts.push(context(0));
  window.add(numberedRows(4, D_OUT), new Float32Array(4));
  await new StoreWriter(part, manifest).writeWindow(window);
  await refuses(() => openStoreSource({ activations, target: part }), 'activations/incomplete', '4 of 60 rows');
});
