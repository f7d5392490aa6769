import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { writeStream } from '../../src/activations/row-stream.js';
import { Interrupted, Refusal } from '../../src/errors/refusal.js';
import type { StopRequest } from '../../src/progress/progress.js';
import { refuses } from '../config/refuses.js';
import { D, each, headerOf } from './stream-bytes.js';
import { numberedPieces } from './synthetic.js';

const SIZES = [10, 10, 10, 10, 4];
const ROWS = 44;
const never: StopRequest = { signal: undefined };

/** A reader that takes a buffer when told to. */
function slowReader() {
  let taken: (() => void) | undefined;
  const out = new Writable({
    write(_chunk, _, done) {
      taken = done;
    },
  });
  return {
    out,
    /** Lets one buffer go; false when there is none. */
    take: () => {
      const done = taken;
      taken = undefined;
      done?.();
      return done !== undefined;
    },
  };
}

/** Pieces, and how many were requested. */
function counted(sizes: readonly number[]) {
  const asked = { count: 0 };
  async function* pieces() {
    for (const rows of numberedPieces(sizes, D)) {
      asked.count++;
      yield rows;
    }
  }
  return { asked, pieces: pieces() };
}

/** Lets everything happen that can without the reader. */
async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await turn();
}

test('no piece is made before the reader has taken the one before', async () => {
  const { out, take } = slowReader();
  const { asked, pieces } = counted(SIZES);
  let over = false;
  const written = writeStream(out, headerOf(ROWS), pieces, 'out', never).then(() => {
    over = true;
  });
  const seen: number[] = [];
  await settle();
  assert.equal(asked.count, 0, 'the schema is not taken yet');
  while (!over) {
    seen.push(asked.count);
    take();
    await settle();
  }
  await written;
  // Every piece takes several buffers, and the next is requested only after the last of them.
  assert.deepEqual([...new Set(seen)], [0, 1, 2, 3, 4, 5]);
  for (const count of [1, 2, 3, 4]) {
    assert.ok(seen.filter((c) => c === count).length >= 5, `piece ${count} left in one go`);
  }
});

test('a complete stream leaves its pipe open, without a listener', async () => {
  const out = new Writable({ write: (_chunk, _, done) => done() });
  await writeStream(out, headerOf(ROWS), each(numberedPieces(SIZES, D)), 'out', never);
  assert.ok(!out.destroyed && !out.writableEnded);
  assert.equal(out.listenerCount('error'), 0);
});

test('a reader that goes away ends the writer in one sentence, and it makes no further piece', async () => {
  for (const code of ['EPIPE', 'ECONNRESET']) {
    let buffers = 0;
    const out = new Writable({
      write(_chunk, _, done) {
        done(++buffers > 30 ? Object.assign(new Error(code), { code }) : null);
      },
    });
    const { asked, pieces } = counted(Array(50).fill(10));
    await refuses(
      () => writeStream(out, headerOf(500), pieces, 'standard output', never),
      'activations/reader-gone',
      'of 500 rows',
    );
    assert.ok(out.destroyed);
    assert.ok(asked.count > 0 && asked.count < 10, `${asked.count} pieces`);
  }
});

test('a full disk behind the redirection is reported as such', async () => {
  const out = new Writable({ write: (_c, _e, done) => done(Object.assign(new Error('full'), { code: 'ENOSPC' })) });
  const failing = writeStream(out, headerOf(ROWS), each(numberedPieces(SIZES, D)), 'standard output', never);
  await refuses(() => failing, 'disk/full');
});

test('a stop is noticed while the reader takes nothing, and the stream is not completed', async () => {
  const stop: StopRequest = { signal: undefined };
  const { out, take } = slowReader();
  const { pieces } = counted(SIZES);
  const written = writeStream(out, headerOf(ROWS), pieces, 'standard output', stop);
  const rejected = assert.rejects(written, (error: unknown) => {
    assert.ok(error instanceof Interrupted, String(error));
    assert.match(error.message, /^[123]0 of 44 rows went to standard output, and the stream is not complete\.$/);
    return true;
  });
  await settle();
  for (let i = 0; i < 30; i++) {
    take();
    await settle();
  }
  stop.signal = 'SIGTERM';
  await rejected;
  assert.ok(out.destroyed);
});

test('a failure in making the rows ends the stream, and is passed on', async () => {
  const out = new Writable({ write: (_chunk, _, done) => done() });
  async function* failing() {
    yield* numberedPieces([10], D);
    throw new Refusal('no more text', undefined, 'corpus/too-short');
  }
  await refuses(() => writeStream(out, headerOf(ROWS), failing(), 'out', never), 'corpus/too-short');
  assert.ok(out.destroyed);
});
