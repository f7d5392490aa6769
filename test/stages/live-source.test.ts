import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { ActivationSource } from '../../src/activations/activation-source.js';
import type { ActivationArray, Rows } from '../../src/activations/rows.js';
import { openStoreSource } from '../../src/activations/store-source.js';
import { type HarvestConfig, harvestSchema } from '../../src/config/stages/harvest.js';
import { activationDTypes } from '../../src/config/values.js';
import { UsageRefusal } from '../../src/errors/refusal.js';
import { harvest } from '../../src/harvest/harvest.js';
import { LiveHarvest } from '../../src/harvest/live-harvest.js';
import { type LiveConfig, type LiveReply, openLiveSource } from '../../src/harvest/live-source.js';
import { type Progress, type StopRequest, silent } from '../../src/progress/progress.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const HOOK = 'blocks.1.hook_mlp_out';
const D = 192;
/** Windows of 508 rows; the last of them is short. */
const ROWS = 1700;
const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };

const harvestConfig = (more: Partial<HarvestConfig> = {}): HarvestConfig =>
  harvestSchema.parse({
    model: 'assets/tiny-gemma',
    corpus: 'assets/corpus/validation.jsonl.gz',
    hook: [HOOK],
    tokens: ROWS,
    context: 128,
    dtype: 'float16',
    batch: 2,
    windowRows: 500,
    seed: 3,
    out: join(root, 'unused'),
    ...more,
  });
function liveConfig(more: Partial<HarvestConfig> = {}): LiveConfig {
  const { out: _, overwrite: _o, resume: _r, rowsPerShard: _s, ...config } = harvestConfig(more);
  return { ...config, hook: config.hook[0]! };
}
const open = (more: Partial<HarvestConfig> = {}, progress: Progress = silent) =>
  openLiveSource(liveConfig(more), progress, never);

/** Uses a source and ends its thread. */
async function using<T>(opening: Promise<ActivationSource>, use: (source: ActivationSource) => Promise<T>): Promise<T> {
  const source = await opening;
  try {
    return await use(source);
  } finally {
    await source.close();
  }
}

async function storeRows(more: Partial<HarvestConfig>): Promise<ActivationArray> {
  const out = join(root, JSON.stringify(more).replace(/\W+/g, '_'));
  const [directory] = await harvest(harvestConfig({ ...more, out }), silent, never);
  const source = await openStoreSource({ activations: directory! });
  return (await source.batches('stored', 0).next(more.tokens ?? ROWS)).x;
}
let whole: ActivationArray;
before(async () => {
  whole = await storeRows({});
});

test('a running model deals the rows of the store with windows as large as its pool, in every element type', async () => {
  for (const dtype of activationDTypes) {
    const expected = dtype === 'float16' ? whole : await storeRows({ dtype });
    await using(open({ dtype }), async (source) => {
      assert.equal(source.about.rows, ROWS);
      assert.equal(source.about.meanNorm, null);
      assert.equal(source.about.hook, HOOK);
      const batches = source.batches('shuffled', 3);
      for (let at = 0; at < ROWS; at += 100) {
        assert.deepEqual((await batches.next(100)).x, expected.slice(at * D, (at + 100) * D), `${dtype} at ${at}`);
      }
      await refuses(() => batches.next(1), 'activations/too-few-rows', `has ${ROWS} rows, but training needs more`);
    });
  }
});

test('a running model at two hooks deals the rows of their stores, row by row', async () => {
  const OUT = 'blocks.0.attn.hook_z';
  const directories = await harvest(harvestConfig({ hook: [HOOK, OUT], out: join(root, 'pair') }), silent, never);
  const store = await openStoreSource({ activations: directories[0]!, target: directories[1]! });
  const expected = await store.batches('stored', 0).next(ROWS);
  const width = store.about.target!.dOut;
  assert.notEqual(width, D);
  // Windows of both hooks' rows.
  const source = openLiveSource({ ...liveConfig(), hookOut: OUT }, silent, never);
  await using(source, async (live) => {
    assert.deepEqual(live.about.target, { hook: OUT, dOut: width, meanNorm: null });
    assert.notEqual(live.about.identity, store.about.identity);
    const batches = live.batches('shuffled', 3);
    await batches.seek(700);
    const { x, y } = await batches.next(600);
    assert.deepEqual(x, expected.x.slice(700 * D, 1300 * D));
    assert.deepEqual(y, expected.y!.slice(700 * width, 1300 * width));
    for await (const { activation, target } of batches.inputs(0)) {
      assert.equal(target!.length / width, activation.length / D);
    }
  });
});

test('seeking is dealing to there: between windows, within one, at the beginning and near the end', async () => {
  for (const rows of [0, 507, 508, 1300, 1690]) {
    await using(open(), async (source) => {
      const batches = source.batches('shuffled', 3);
      await batches.seek(rows);
      assert.deepEqual((await batches.next(10)).x, whole.slice(rows * D, (rows + 10) * D), `${rows} rows`);
    });
  }
});

/** A harvest in this thread, what it answers, and its forward passes. */
async function here(more: Partial<HarvestConfig> = {}) {
  const replies: LiveReply[] = [];
  const passes = { count: 0 };
  const counting = { ...silent, update: () => passes.count++ };
  const start = { model: 'assets/tiny-gemma', config: harvestConfig(more) };
  const live = await LiveHarvest.open(start, (reply) => replies.push(reply), counting);
  return { live, replies, passes };
}

test('windows before the one sought are skipped without a forward pass', async () => {
  const { live, replies, passes } = await here();
  await live.begin(3, 1100);
  await live.window();
  const begun = replies[1];
  assert.equal(begun?.kind === 'begun' && begun.skipped.rows, 1016);
  // Windows have two passes; that of the fourth may be under way.
  assert.ok(passes.count === 2 || passes.count === 3, `${passes.count} passes`);
});

test('one window is made ahead of the requested one, and no more', async () => {
  const { live, replies, passes } = await here({ rowsPerShard: 100 });
  await live.begin(3, 0);
  for (let window = 1; window <= 3; window++) {
    while (passes.count < 2 * window) await turn();
    // A pass occupies the thread: one that was begun would be over by now.
    for (let i = 0; i < 50; i++) await turn();
    assert.equal(passes.count, 2 * window, 'made ahead');
    const before = replies.length;
    await live.window();
    const pieces = replies.slice(before, -1) as (LiveReply & { kind: 'piece' })[];
    assert.deepEqual(
      pieces.map(({ rows }) => rows.token.length),
      [100, 100, 100, 100, 100, 8],
    );
    assert.equal(replies.at(-1)!.kind, 'whole');
  }
});

test('the text of windows is the same whether they are skipped or harvested, the last one cut short included', async () => {
  const { live, replies } = await here();
  await live.begin(3, 0);
  for (let window = 0; window < 4; window++) await live.window();
  const texts = replies.flatMap((reply) => (reply.kind === 'whole' ? [reply.text] : []));
  assert.equal(new Set(texts.map(({ sha256 }) => sha256)).size, 4);
  for (const { corpora } of texts) assert.equal(corpora!.length, 1);
  const read = texts.map(({ corpora }) => corpora![0]!.tokens);
  assert.ok(read[0]! > 500 && read.every((tokens, i) => i === 0 || tokens > read[i - 1]!), read.join());
  for (const [i, rows] of [508, 1016, 1524, ROWS].entries()) {
    const skipping = await here();
    await skipping.live.begin(3, rows);
    assert.deepEqual(skipping.replies[1], { kind: 'begun', skipped: { rows, ...texts[i] } });
  }
});

test('resuming a running model over a changed text is refused; text not yet read may change', async () => {
  const corpus = join(root, 'changing.txt');
  const text = 'The state of the Union is strong, and so are its people. '.repeat(600);
  const put = (at: number) => writeFileSync(corpus, `${text.slice(0, at)}X${text.slice(at + 1)}`);
  put(text.length - 1);
  const read = await using(open({ corpus: [corpus] }), async (source) => {
    const batches = source.batches('shuffled', 3);
    await batches.next(600);
    return batches.textRead!(600)!;
  });
  assert.equal(read.rows, 1016, 'to the end of the window');
  for (const [at, refused] of [
    [10, true],
    [3000, true],
    [text.length - 2, false],
  ] as const) {
    put(at);
    await using(open({ corpus: [corpus] }), async (source) => {
      const batches = source.batches('shuffled', 3);
      batches.expectText!(read);
      if (refused) await refuses(() => batches.seek(600), 'activations/other-text');
      else await batches.seek(600);
    });
  }
});

test('inputs are the current window, the same after a resume; reading them deals nothing', async () => {
  const inputsOf = async (source: ActivationSource, seek: number) => {
    const batches = source.batches('shuffled', 3);
    await batches.seek(seek);
    const pieces: Rows[] = [];
    for await (const rows of batches.inputs(0)) pieces.push(rows);
    assert.deepEqual((await batches.next(5)).x, whole.slice(seek * D, (seek + 5) * D));
    return pieces.flatMap(({ activation }) => [...activation]);
  };
  const window = [...whole.slice(508 * D, 1016 * D)];
  assert.deepEqual(await using(open(), (source) => inputsOf(source, 508)), window);
  assert.deepEqual(await using(open(), (source) => inputsOf(source, 900)), window);
});

test('a corpus that ends is read again, with one message; windows and their orders continue', onDemand, async () => {
  const corpus = join(root, 'short.txt');
  writeFileSync(corpus, 'The state of the Union is strong, and so are its fifty states. '.repeat(40));
  const lines: string[] = [];
  const progress = { ...silent, say: (line: string) => lines.push(line) };
  // Windows of two passes of three contexts.
  const more = { corpus: [corpus], context: 32, batch: 3, windowRows: 150, tokens: 3000 };
  const window = 2 * 3 * 31;
  const { x: dealt } = await using(open(more, progress), async (source) => source.batches('shuffled', 3).next(3000));
  const again = lines.filter((line) => line.includes('is read again'));
  assert.equal(again.length, 1);
  const reading = Number(/ended after (\d+) rows/.exec(again[0]!)![1]);
  assert.ok(reading > 2 * window && reading < 1500, `${reading} rows`);
  // As far as whole windows go, the first reading is the store's; the next one has the same rows in other orders.
  const whole = window * Math.floor(reading / window);
  const first = await storeRows({ ...more, tokens: reading });
  const rowsOf = (values: ActivationArray, from: number, count: number) =>
    Array.from({ length: count }, (_, i) => values.slice((from + i) * D, (from + i + 1) * D).join());
  assert.deepEqual(rowsOf(dealt, 0, whole), rowsOf(first, 0, whole));
  assert.notDeepEqual(rowsOf(dealt, reading, whole), rowsOf(dealt, 0, whole));
  assert.deepEqual(new Set(rowsOf(dealt, 0, 3000)), new Set(rowsOf(first, 0, reading)));
  // A resumed run sees the same rows in later readings too.
  for (const rows of [reading - 1, 2 * reading + 50]) {
    const { x: resumed } = await using(open(more), async (source) => {
      const batches = source.batches('shuffled', 3);
      await batches.seek(rows);
      return batches.next(20);
    });
    assert.deepEqual(resumed, dealt.slice(rows * D, (rows + 20) * D), `after ${rows} rows`);
  }
});

test('the memory bound is printed once, when dealing begins', async () => {
  const lines: string[] = [];
  await using(open({}, { ...silent, say: (line) => lines.push(line) }), async (source) => {
    assert.deepEqual(lines, []);
    source.batches('shuffled', 0);
  });
  // 2 · 508 rows of 192 float16 and 12 bytes.
  assert.deepEqual(lines, [
    'tiny-gemma at blocks.1.hook_mlp_out over assets/corpus/validation.jsonl.gz: at most 2 windows of 508 rows in memory, 392.9 KiB',
  ]);
});

test('sources of other rows have another identity, and the seed is not part of it', onDemand, async () => {
  const identity = (more: Partial<HarvestConfig>) => using(open(more), async ({ about }) => about.identity);
  const first = await identity({});
  assert.equal(await identity({ seed: 9 }), first);
  const corpus = join(root, 'validation.txt');
  writeFileSync(corpus, 'one');
  const short = await identity({ corpus: [corpus] });
  writeFileSync(corpus, 'three');
  assert.notEqual(await identity({ corpus: [corpus] }), short);
  for (const more of [{ context: 64 }, { batch: 3 }, { windowRows: 1000 }, { dtype: 'float32' as const }]) {
    assert.notEqual(await identity(more), first, JSON.stringify(more));
  }
});

test('a refusal in the thread is a refusal here, with its sentence, remedy and exit code', async () => {
  await refuses(() => open({ model: root }), 'lm/no-config', 'config.json');
  await refuses(() => open({ hook: ['blocks.9.hook_mlp_out'] }), 'lm/no-hook', 'blocks.9.hook_mlp_out');
  await refuses(() => open({ corpus: [join(root, 'none.txt')] }), 'corpus/none');
  await refusesUsage(() => open({ context: 100_000 }), 'lm/context-too-long', '--context 100000 is longer');
  await refusesUsage(() => open({ device: 'tpu' }), 'onnx/no-device', '"tpu" is not a device');
});

test('a later error is refused when its rows are requested', async () => {
  const corpus = join(root, 'breaks.jsonl');
  const line = JSON.stringify({ text: 'The state of the Union is strong. '.repeat(60) });
  writeFileSync(corpus, `${line}\n${line}\n{"broken\n`);
  await using(open({ corpus: [corpus], windowRows: 200 }), async (source) => {
    const batches = source.batches('shuffled', 3);
    await batches.next(200);
    await refuses(() => batches.next(1500), 'corpus/not-json', 'breaks.jsonl:3 is not JSON');
  });
});

test('stored order is refused, and so is a second pass', async () => {
  await using(open(), async (source) => {
    assert.throws(() => source.batches('stored', 0), UsageRefusal);
    assert.throws(() => source.batches('stored', 0), /there is no stored order/);
    source.batches('shuffled', 0);
    assert.throws(() => source.batches('shuffled', 0), /passes once/);
  });
});

test('closing ends the thread while it works', async () => {
  const source = await open({ windowRows: 100_000, tokens: 100_000 });
  const waiting = source.batches('shuffled', 0).next(10);
  waiting.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 50));
  await source.close();
  await assert.rejects(waiting, /thread ended/);
});
