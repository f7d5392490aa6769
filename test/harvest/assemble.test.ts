import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Manifest } from '../../src/activations/manifest.js';
import type { Context } from '../../src/corpus/contexts.js';
import { type Assembled, assembleWindows, atWindow } from '../../src/harvest/assemble.js';
import type { ForwardPass } from '../../src/harvest/forward-pass.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { contextAt, passOf, ROWS } from './token-pass.js';

async function* groupsOf(sizes: readonly number[]): AsyncGenerator<readonly Context[]> {
  let index = 0;
  for (const size of sizes) yield Array.from({ length: size }, () => contextAt(index++));
}

interface Told {
  readonly index: number;
  readonly end: Assembled['end'];
  readonly rows: number;
  readonly tokens: number[];
  readonly contexts: number[];
}

async function assembled(
  pass: ForwardPass,
  wanted: number,
  update = (_: number) => {},
  stop?: StopRequest,
  more: Partial<Manifest> = {},
) {
  const manifest = {
    ...{ d_in: 1, dtype: 'float32', window_batches: 2, rows_wanted: wanted, bos_token_id: 0, prepend_bos: true },
    ...more,
  } as Manifest;
  const beginning = atWindow(0, 0, [manifest]);
  const progress = { ...silent, update };
  const all: Told[] = [];
  const windows = assembleWindows(
    beginning,
    [manifest],
    groupsOf([5, 5, 5, 5]),
    pass,
    progress,
    stop ?? { signal: undefined },
  );
  for await (const {
    windows: [window],
    rows,
    end,
  } of windows) {
    const tokens = [...window!.shards(1000, 0)].flatMap((piece) => [...piece.token]).sort((a, b) => a - b);
    all.push({ index: window!.index, end, rows, tokens, contexts: window!.contexts.map(({ index }) => index) });
  }
  return all;
}

for (const wanted of [60, 47, 44, 22, 1]) {
  test(`${wanted} rows are the same however many contexts a pass takes`, async () => {
    const whole = await assembled(passOf(Number.POSITIVE_INFINITY, []), wanted);
    assert.equal(whole.at(-1)!.rows, wanted);
    assert.equal(whole.flatMap(({ tokens }) => tokens).length, wanted);
    for (const contexts of [1, 2, 3, 5]) {
      const seen: number[][] = [];
      assert.deepEqual(await assembled(passOf(contexts, seen), wanted), whole, `${contexts} a pass`);
      assert.ok(seen.every((group) => group.length <= contexts));
      assert.deepEqual(
        seen.flat(),
        Array.from({ length: seen.flat().length }, (_, i) => i),
        'each once',
      );
      assert.ok(ROWS * (seen.flat().length - contexts) < wanted, 'none for nothing');
    }
  });
}

test('a stop takes effect after the current pass, in the middle of a group', async () => {
  const seen: number[][] = [];
  const stop: StopRequest = { signal: undefined };
  const updates: number[] = [];
  const all = await assembled(
    passOf(2, seen),
    60,
    (rows) => {
      updates.push(rows);
      // Within the second group.
      if (rows === ROWS * 7) stop.signal = 'SIGTERM';
    },
    stop,
  );
  assert.deepEqual(seen, [[0, 1], [2, 3], [4], [5, 6]]);
  assert.deepEqual(
    updates,
    [2, 4, 5, 7].map((contexts) => ROWS * contexts),
  );
  assert.equal(all.length, 1);
  const [{ end, rows, tokens, contexts }] = all as [Told];
  assert.deepEqual([end, rows, contexts], ['stop', 7 * ROWS, [0, 1, 2, 3, 4, 5, 6]]);
  assert.equal(tokens.length, 7 * ROWS);
});

test('memory of a pass that leaves rows out by their norms is given back at once, and windows hold none of it', async () => {
  const passes = passOf(2, []);
  const held = new Set<ArrayBufferLike>();
  let most = 0;
  const pass: ForwardPass = {
    ...passes,
    run: async (...asked) => {
      const result = await passes.run(...asked);
      held.add(result.rows[0]!.activation.buffer);
      most = Math.max(most, held.size);
      return result;
    },
    reuse: (_, memory) => {
      for (const one of memory) {
        held.delete(one);
        new Uint8Array(one).fill(255);
      }
    },
  };
  // Tokens are their norms: those of contexts 0 to 6 but its last two.
  const limit = { max_activation_norm_multiple: 2, median_activation_norm: 30.5 };
  const all = await assembled(pass, 19, undefined, undefined, limit);
  assert.deepEqual(
    all.map(({ index, end, rows }) => [index, end, rows]),
    [[0, 'full', 19]],
  );
  const expected = Array.from({ length: 19 }, (_, i) => 10 * Math.floor(i / ROWS) + 1 + (i % ROWS));
  assert.deepEqual(all[0]!.tokens, expected);
  assert.equal(most, 1);
});
