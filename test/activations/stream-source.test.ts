import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Order } from '../../src/activations/activation-source.js';
import { openStreamSource } from '../../src/activations/stream-source.js';
import { activationDTypes } from '../../src/config/values.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { Generator, Purpose } from '../../src/random/generator.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { D, headerOf, streamBytes } from './stream-bytes.js';
import { numberedPieces, rowNumbers } from './synthetic.js';

/** Pieces that do not line up with the pools. */
const SIZES = [10, 7, 10, 3, 10, 10, 1];
const ROWS = 51;
const POOLS = [1, 4, 10, 16, 51, 1000];
const SEED = 5;
const place = 'the pipe';

const whole = await streamBytes(headerOf(ROWS), numberedPieces(SIZES, D));
const stored = Array.from({ length: ROWS }, (_, i) => i);

/** A pipe that counts the bytes that were taken out of it. */
function pipeOf(bytes: Buffer, chunk = 100) {
  const taken = { bytes: 0 };
  const readable = new Readable({
    highWaterMark: 1,
    read() {
      const next = bytes.subarray(taken.bytes, taken.bytes + chunk);
      taken.bytes += next.length;
      this.push(next.length > 0 ? next : null);
    },
  });
  return { readable, taken };
}

const openOn = (bytes: Buffer, poolRows?: number) => openStreamSource(pipeOf(bytes).readable, { place, poolRows });
const opened = async (order: Order, poolRows?: number) => (await openOn(whole, poolRows)).batches(order, SEED);
type Dealer = Awaited<ReturnType<typeof opened>>;
const deal = async (batches: Dealer, size: number) => rowNumbers((await batches.next(size)).x, D);

/** Pools of `size` rows of 0 … ROWS − 1, each in its own random order: what shuffling is defined to be. */
function shuffled(size: number): number[] {
  const dealt: number[] = [];
  for (let pool = 0; dealt.length < ROWS; pool++) {
    const rows = stored.slice(pool * size, (pool + 1) * size);
    const order = new Generator(SEED, Purpose.rowOrder, pool).permutation(rows.length);
    dealt.push(...Array.from(order, (i) => rows[i]!));
  }
  return dealt;
}

async function settle(): Promise<void> {
  for (let i = 0; i < 200; i++) await turn();
}

test('stored order deals rows as they come, in batches that run across pieces', async () => {
  for (const size of [1, 4, 17, 51]) {
    const batches = await opened('stored');
    const dealt: number[] = [];
    while (dealt.length + size <= ROWS) dealt.push(...(await deal(batches, size)));
    assert.deepEqual(dealt, stored.slice(0, dealt.length));
  }
});

test('shuffled order deals pool after pool, each permuted by seed and number, to its end', async () => {
  for (const poolRows of POOLS) {
    const batches = await opened('shuffled', poolRows);
    const dealt: number[] = [];
    while (dealt.length + 3 <= ROWS) dealt.push(...(await deal(batches, 3)));
    assert.deepEqual(dealt, shuffled(poolRows).slice(0, dealt.length), `pools of ${poolRows}`);
  }
});

test('all columns of a row are dealt together', async () => {
  const { x: values } = await (await opened('shuffled', 16)).next(ROWS);
  const pieces = numberedPieces(SIZES, D);
  const texts = pieces.flatMap(({ activation, token }) =>
    Array.from(token, (_, i) => [...activation.subarray(i * D, (i + 1) * D)].join()),
  );
  const found = Array.from({ length: ROWS }, (_, i) => [...values.subarray(i * D, (i + 1) * D)].join());
  assert.deepEqual(found.sort(), texts.sort());
});

test('every element type is dealt as it came', async () => {
  for (const dtype of activationDTypes) {
    const bytes = await streamBytes(headerOf(3, { dtype }), numberedPieces([3], D, dtype));
    const source = await openOn(bytes);
    assert.equal(source.about.dtype, dtype);
    const { x: batch } = await source.batches('stored', 0).next(3);
    assert.equal(batch.constructor, dtype === 'float32' ? Float32Array : Uint16Array);
    assert.deepEqual(rowNumbers(batch, D), [0, 1, 2]);
  }
});

test('seeking is dealing to there, for every number of rows', async () => {
  for (const order of ['stored', 'shuffled'] as const) {
    for (const poolRows of [4, 16, 1000]) {
      const all = await deal(await opened(order, poolRows), ROWS);
      for (let rows = 0; rows <= ROWS; rows++) {
        const batches = await opened(order, poolRows);
        await batches.seek(rows);
        assert.deepEqual(await deal(batches, Math.min(5, ROWS - rows)), all.slice(rows, Math.min(rows + 5, ROWS)));
      }
    }
  }
});

test('seeking continues from the rows already dealt, and never goes back', async () => {
  const all = shuffled(16);
  const batches = await opened('shuffled', 16);
  await batches.next(5);
  await batches.seek(9);
  assert.deepEqual(await deal(batches, 4), all.slice(9, 13));
  await batches.seek(40);
  assert.deepEqual(await deal(batches, 4), all.slice(40, 44));
  await assert.rejects(batches.seek(43), /the pipe goes forward only/);
});

test('inputs are the rows from which the next batch is dealt, and reading them does not change what is dealt', async () => {
  for (const [order, poolRows, expected] of [
    ['stored', 16, stored.slice(0, 10)],
    ['shuffled', 16, stored.slice(0, 16)],
    ['shuffled', 1000, stored],
  ] as const) {
    const batches = await opened(order, poolRows);
    const look = async () => {
      const rows: number[] = [];
      for await (const piece of batches.inputs(0)) rows.push(...rowNumbers(piece.activation, D));
      return rows;
    };
    assert.deepEqual(await look(), expected);
    const all = order === 'stored' ? stored : shuffled(poolRows);
    assert.deepEqual(await deal(batches, 7), all.slice(0, 7));
    assert.deepEqual(await look(), expected);
    assert.deepEqual(await deal(batches, 30), all.slice(7, 37));
  }
  const batches = await opened('shuffled', 16);
  await batches.next(16);
  const pieces: number[] = [];
  for await (const piece of batches.inputs(0)) pieces.push(...rowNumbers(piece.activation, D));
  assert.deepEqual(pieces, stored.slice(16, 32), 'the first pool is dealt, so it is the second');
});

test('while one pool is dealt the next is filled, and nothing beyond it is read', async () => {
  const count = 200;
  const bytes = await streamBytes(headerOf(10 * count), numberedPieces(Array(count).fill(10), D));
  const perPiece = bytes.length / count;
  for (const [order, poolRows, held] of [
    ['stored', 0, 2],
    ['shuffled', 40, 8],
    // The rest of a piece stays with the pool that it did not fit.
    ['shuffled', 45, 9],
  ] as const) {
    const { readable, taken } = pipeOf(bytes, 64);
    const batches = (await openStreamSource(readable, { place, poolRows: poolRows || undefined })).batches(order, SEED);
    const pool = order === 'stored' ? 10 : poolRows;
    await settle();
    assert.ok(taken.bytes < 2 * perPiece, 'nothing but the header is read before rows are asked for');
    for (let dealt = 5; dealt <= 10 * count; dealt += 5) {
      await batches.next(5);
      await settle();
      const pools = Math.ceil(dealt / pool);
      // The schema takes as much as some pieces; chunks of the pipe and its buffer are small.
      const most = Math.min(count, Math.ceil(((pools + 1) * pool) / 10)) * perPiece + 2000;
      const least = Math.min(count, Math.floor(((pools + 1) * pool) / 10)) * perPiece - 2000;
      assert.ok(taken.bytes <= most, `${order} ${poolRows}: ${taken.bytes} bytes read after ${dealt} rows`);
      assert.ok(taken.bytes >= least, `${order} ${poolRows}: only ${taken.bytes} bytes read after ${dealt} rows`);
      if (dealt === 5) assert.ok(taken.bytes < (held + 1) * perPiece + 2000);
    }
  }
});

test('the memory bound is printed once, when dealing begins', async () => {
  const lines: string[] = [];
  const say = (line: string) => lines.push(line);
  const source = await openStreamSource(pipeOf(whole).readable, { place, poolRows: 20, say });
  assert.deepEqual(lines, []);
  source.batches('shuffled', 0);
  // 50 rows of 3 float32 and 12 bytes.
  assert.deepEqual(lines, ['the pipe: at most 2 pools of 20 rows and a record batch in memory, 1.2 KiB']);
  const other = await openStreamSource(pipeOf(whole).readable, { place, say });
  other.batches('stored', 0);
  assert.equal(lines[1], 'the pipe: at most 2 record batches of 10 rows in memory, 480 B');
});

test('a source has the settings of its header; equal headers are equal sources', async () => {
  const { about } = await openOn(whole);
  assert.deepEqual(
    { ...about, identity: '' },
    {
      place,
      model: { name: 'm', fingerprint: 'f' },
      hook: 'blocks.0.hook_resid_post',
      dIn: D,
      dtype: 'float32',
      context: 5,
      prependBos: true,
      corpus: 'c.jsonl',
      rows: ROWS,
      meanNorm: null,
      identity: '',
    },
  );
  const identity = async (settings: object) =>
    (await openOn(await streamBytes(headerOf(ROWS, settings), numberedPieces(SIZES, D)))).about.identity;
  assert.equal(await identity({}), about.identity);
  for (const settings of [{ seed: 2 }, { window_batches: 4 }, { model: { name: 'm', fingerprint: 'g' } }]) {
    assert.notEqual(await identity(settings), about.identity);
  }
});

test('a stream that ends early is refused when its missing rows are needed, and not before', async () => {
  const cut = whole.subarray(0, whole.length - 300);
  const batches = (await openOn(cut, 16)).batches('shuffled', SEED);
  assert.deepEqual(await deal(batches, 48), shuffled(16).slice(0, 48));
  await refuses(() => batches.next(3), 'activations/stream-cut-short', 'the pipe ended after 50 of 51 rows.');
});

test('more rows than the stream has are refused', async () => {
  const batches = await opened('shuffled', 16);
  await batches.next(50);
  await refuses(() => batches.next(2), 'activations/too-few-rows', 'the pipe has 51 rows, but training needs more');
});

test('a terminal, a pipe without a stream and a second pass are refused', async () => {
  const terminal = Object.assign(pipeOf(whole).readable, { isTTY: true });
  await refusesUsage(() => openStreamSource(terminal, { place }), 'activations/terminal');
  const { readable } = pipeOf(Buffer.alloc(100));
  await refuses(() => openStreamSource(readable, { place }), 'activations/not-arrow');
  assert.ok(readable.destroyed, 'its writer must not wait for a reader that has given up');
  const source = await openOn(whole);
  source.batches('stored', 0);
  assert.throws(() => source.batches('stored', 0), /passes once/);
});

test('draining reads all that is left, and closing drops the pipe', async () => {
  for (const order of ['shuffled', 'stored'] as const) {
    for (const dealt of [0, 16, 48, 51]) {
      for (const passesOver of [true, false]) {
        const { readable, taken } = pipeOf(whole);
        const source = await openStreamSource(readable, { place, poolRows: 8 });
        const batches = source.batches(order, 0);
        if (dealt > 0) await batches.next(dealt);
        if (passesOver) await source.passOver!();
        await source.close();
        if (passesOver) assert.equal(taken.bytes, whole.length, `${dealt} rows dealt`);
        else if (dealt <= 16) assert.ok(taken.bytes < whole.length, `${dealt} rows dealt`);
        assert.ok(readable.destroyed);
      }
    }
  }
});

test('a drained stream may end for any reason', async () => {
  const source = await openOn(whole.subarray(0, -100), 8);
  await source.batches('shuffled', 0).next(10);
  await source.passOver!();
});

test('the text read so far is known at every row, however the stream is cut, and another one is refused', async () => {
  const cut = await streamBytes(headerOf(ROWS), numberedPieces([10, 10, 10, 10, 10, 1], D));
  const other = (at: number) => {
    const pieces = numberedPieces(SIZES, D);
    let first = 0;
    for (const { token } of pieces) {
      if (at >= first && at < first + token.length) token[at - first]!++;
      first += token.length;
    }
    return streamBytes(headerOf(ROWS), pieces);
  };
  for (const poolRows of POOLS) {
    for (const dealt of [1, 9, 10, 27, 48]) {
      const batches = (await openOn(whole, poolRows)).batches('shuffled', SEED);
      await batches.next(dealt);
      // A batch ahead may have been taken from the next pool by then.
      if (dealt + 3 <= ROWS) await batches.next(3);
      const read = batches.textRead!(dealt)!;
      assert.ok(read.rows >= dealt && read.rows - dealt < poolRows, `${read.rows} rows of ${dealt}`);
      for (const [bytes, refused] of [
        [cut, false],
        [await other(0), true],
        [await other(read.rows - 1), true],
        [await other(Math.min(read.rows, ROWS - 1)), read.rows === ROWS],
      ] as const) {
        const resumed = (await openOn(bytes, poolRows)).batches('shuffled', SEED);
        resumed.expectText!(read);
        if (refused) await refuses(() => resumed.seek(dealt), 'activations/other-text');
        else await resumed.seek(dealt);
      }
    }
  }
});

test('a finished run notices another text while its stream is drained', async () => {
  const first = (await openOn(whole, 8)).batches('shuffled', SEED);
  await first.next(40);
  const pieces = numberedPieces(SIZES, D);
  pieces[3]!.pos[0]!++;
  for (const [bytes, refused] of [
    [whole, false],
    [await streamBytes(headerOf(ROWS), pieces), true],
  ] as const) {
    const source = await openOn(bytes, 8);
    source.batches('shuffled', SEED).expectText!(first.textRead!(40)!);
    if (refused) await refuses(() => source.passOver!(), 'activations/other-text');
    else await source.passOver!();
    await source.close();
  }
});

test('a stop is noticed while waiting for rows', async () => {
  const stop: { signal: 'SIGINT' | undefined } = { signal: undefined };
  // Gives the beginning, and then nothing for ever.
  const readable = new Readable({ read() {} });
  readable.push(whole.subarray(0, whole.length - 400));
  const batches = (await openStreamSource(readable, { place, poolRows: 10, stop })).batches('shuffled', 0);
  await batches.next(10);
  const waiting = batches.next(41);
  setTimeout(() => {
    stop.signal = 'SIGINT';
  }, 10);
  await assert.rejects(waiting, (error: unknown) => {
    assert.ok(error instanceof Interrupted);
    return true;
  });
});
