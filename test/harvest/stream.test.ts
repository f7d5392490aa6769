import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { test } from 'node:test';
import { readManifest } from '../../src/activations/manifest.js';
import { RowStream, type StreamHeader, streamHeader } from '../../src/activations/row-stream.js';
import type { Rows } from '../../src/activations/rows.js';
import { openStore } from '../../src/activations/store.js';
import { type HarvestConfig, harvestSchema } from '../../src/config/stages/harvest.js';
import { activationDTypes } from '../../src/config/values.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { harvest } from '../../src/harvest/harvest.js';
import { harvestToStream } from '../../src/harvest/stream.js';
import { type Progress, type StopRequest, silent } from '../../src/progress/progress.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const HOOK = 'blocks.1.hook_mlp_out';
const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
const configured = (more: Partial<HarvestConfig> = {}): HarvestConfig =>
  harvestSchema.parse({
    model: 'assets/tiny-gemma',
    corpus: 'assets/corpus/validation.jsonl.gz',
    hook: [HOOK],
    // Windows of 508 rows, the last of them short; pieces that do not divide them.
    tokens: 1700,
    context: 128,
    batch: 2,
    rowsPerShard: 150,
    windowRows: 500,
    out: '-',
    ...more,
  });

async function streamed(config: HarvestConfig): Promise<{ header: StreamHeader; pieces: Rows[] }> {
  const pipe = new PassThrough();
  const written = harvestToStream(config, pipe, silent, never).then(() => pipe.end());
  const stream = await RowStream.open(pipe, 'the pipe');
  const pieces: Rows[] = [];
  for (let rows = await stream.next(); rows; rows = await stream.next()) pieces.push(rows);
  await written;
  return { header: stream.header, pieces };
}

test('a stream has the rows of the store, in its order and its pieces, in every element type', async () => {
  for (const dtype of activationDTypes) {
    const [directory] = await harvest(configured({ dtype, out: join(root, dtype) }), silent, never);
    const store = await openStore(directory!);
    assert.ok(store.manifest.contexts.length === 4 && store.shards.length > 8);
    const { header, pieces } = await streamed(configured({ dtype }));
    assert.equal(pieces.length, store.shards.length);
    for (const [i, rows] of pieces.entries()) assert.deepEqual(rows, await store.readShard(i), `${dtype}, piece ${i}`);
    assert.deepEqual(header, streamHeader(await readManifest(directory!)));
    assert.equal(header.rows, 1700);
  }
});

test('nothing is written to a file', async () => {
  const before = readdirSync('.');
  await streamed(configured({ tokens: 200 }));
  assert.deepEqual(readdirSync('.'), before);
});

test('several hooks, flags of stores and a terminal are refused before the model is opened', async () => {
  const out = new PassThrough();
  const attempt = (more: Partial<HarvestConfig>, to: Writable = out) =>
    harvestToStream(configured({ model: join(root, 'none'), ...more }), to, silent, never);
  await refusesUsage(
    () => attempt({ hook: [HOOK, 'blocks.0.hook_mlp_out'] }),
    'harvest/several-hooks',
    'rows of one hook, but 2 are given',
  );
  await refusesUsage(() => attempt({ resume: true }), 'harvest/flag-of-stores', '--resume applies to stores');
  await refusesUsage(() => attempt({ overwrite: true }), 'harvest/flag-of-stores', '--overwrite applies to stores');
  const terminal = Object.assign(new PassThrough(), { isTTY: true });
  await refusesUsage(() => attempt({}, terminal), 'harvest/terminal');
  assert.equal(out.readableLength + terminal.readableLength, 0);
});

test('a corpus with too little text is refused before a byte is written', async () => {
  const corpus = join(root, 'short.txt');
  writeFileSync(corpus, 'The state of the Union is strong. '.repeat(100));
  const out = new PassThrough();
  await refuses(() => harvestToStream(configured({ corpus: [corpus] }), out, silent, never), 'corpus/too-short');
  assert.equal(out.readableLength, 0);
});

test('a stop ends the stream without its end marker, and says how much of it was written', async () => {
  const stop: StopRequest = { signal: undefined };
  let harvesting = false;
  const progress: Progress = {
    ...silent,
    begin: (label) => {
      harvesting = label === 'harvesting';
    },
    update: (done) => {
      // In the third window.
      if (harvesting && done > 1200) stop.signal = 'SIGINT';
    },
  };
  const chunks: Buffer[] = [];
  const out = new Writable({
    write(chunk, _, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  await assert.rejects(harvestToStream(configured(), out, progress, stop), (error: unknown) => {
    assert.ok(error instanceof Interrupted, String(error));
    assert.match(error.message, /^1016 of 1700 rows went to standard output, and the stream is not complete\.$/);
    return true;
  });
  assert.ok(out.destroyed);
  const stream = await RowStream.open(Readable.from(chunks), 'the pipe');
  let rows = 0;
  await refuses(
    async () => {
      for (let piece = await stream.next(); piece; piece = await stream.next()) rows += piece.token.length;
    },
    'activations/stream-cut-short',
    'the pipe ended after 1016 of 1700 rows',
  );
  assert.equal(rows, 1016);
});
