import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Context } from '../../src/corpus/contexts.js';
import { epochs, skipWindows } from '../../src/harvest/assemble.js';
import { rowsOfGroup } from '../../src/harvest/window-groups.js';
import { Generator } from '../../src/random/generator.js';
import { emptyManifest } from '../activations/synthetic.js';
import { refuses } from '../config/refuses.js';

const BOS = 2;
const random = new Generator(1);
/** Contexts of 6 tokens of which some are BOS, so that contexts give 1 to 5 rows. */
const CONTEXTS: Context[] = Array.from({ length: 11 }, (_, index) => ({
  index,
  tokens: Int32Array.from({ length: 6 }, (_, i) => (i === 0 || (i > 1 && random.below(2) === 0) ? BOS : 7)),
  documents: new Uint32Array(6),
}));
async function* corpus(contexts = CONTEXTS) {
  yield* contexts;
}
const about = { leftOut: BOS, corpus: 'c.txt', wanted: 100 };
const WANTED = 117;
const manifest = emptyManifest(WANTED, { window_batches: 3, bos_token_id: BOS });
const readAgain = () =>
  epochs(
    () => corpus(),
    2,
    about,
    () => {},
  );

test('a corpus is read repeatedly, each time with its last group unfilled', async () => {
  const said: number[] = [];
  const groups = epochs(
    () => corpus(),
    2,
    about,
    (rows) => said.push(rows),
  );
  const read: number[][] = [];
  for (let i = 0; i < 13; i++) read.push((await groups.next()).value!.map(({ index }: Context) => index));
  const reading = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]];
  assert.deepEqual(read, [...reading, ...reading, [0, 1]]);
  assert.deepEqual(said, [rowsOfGroup(CONTEXTS, BOS)], 'said once');
});

test('a corpus without a row is refused instead of being read forever', async () => {
  const empty = epochs(
    () => corpus([]),
    2,
    about,
    () => {},
  );
  await refuses(() => empty.next(), 'corpus/too-short', 'c.txt does not fill a single context');
  const hollow = { index: 0, tokens: new Int32Array(6).fill(BOS), documents: new Uint32Array(6) };
  const bosOnly = epochs(
    () => corpus([hollow]),
    2,
    about,
    () => {},
  );
  await bosOnly.next();
  await refuses(() => bosOnly.next(), 'corpus/too-short', 'c.txt does not fill a single context');
});

/** The contexts that the first `rows` rows came from. */
async function contextsOfRows(rows: number): Promise<Context[]> {
  const groups = readAgain();
  const found: Context[] = [];
  for (let left = rows; left > 0; ) {
    for (const context of (await groups.next()).value!) {
      if (left > 0) found.push(context);
      left -= rowsOfGroup([context], BOS);
    }
  }
  return found;
}

/** Rows of each window, counted plainly: three groups each, the last cut at WANTED rows. */
async function windowsPlainly(): Promise<number[]> {
  const groups = readAgain();
  const windows: number[] = [];
  for (let left = WANTED; left > 0; ) {
    let rows = 0;
    for (let pass = 0; pass < 3 && rows < left; pass++) rows += rowsOfGroup((await groups.next()).value!, BOS);
    windows.push(Math.min(rows, left));
    left -= rows;
  }
  return windows;
}

test('windows that end at or before the target are skipped, whatever it is, and the rest begins at its first context', async () => {
  const windows = await windowsPlainly();
  assert.ok(windows.length > 4);
  for (let target = 0; target <= WANTED; target++) {
    let [index, rows] = [0, 0];
    while (index < windows.length && rows + windows[index]! <= target) rows += windows[index++]!;
    const text: Context[] = [];
    const skipped = await skipWindows(readAgain(), manifest, target, { add: (contexts) => text.push(...contexts) });
    assert.deepEqual([skipped.index, skipped.rows], [index, rows], `target ${target}`);
    assert.deepEqual(text, await contextsOfRows(rows), `text of ${rows} rows`);
    // Groups continue where the skipped windows end.
    const all = readAgain();
    for (let i = 0; i < 3 * index; i++) await all.next();
    if (rows === WANTED) continue;
    for (let i = 0; i < 8; i++) assert.deepEqual((await skipped.groups.next()).value, (await all.next()).value);
  }
});
