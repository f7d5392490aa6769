import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { Refusal } from '../config/refusal.js';
import type { Document } from './documents.js';
import type { ParquetReply, ParquetTask } from './parquet-worker.js';

/**
 * Heap for reading a file, in MiB: a base, and as much more for each of its own as compressed text has been seen to
 * need several times over. Lengths within a Parquet file (of runs, of pages) are believed by its reader, and a damaged
 * one would fill all memory and end the process.
 */
const HEAP = { base: 512, each: 32 };

/**
 * Documents of a Parquet file, row group by row group. It is read in a thread of its own, whose end by want of memory
 * is an answer.
 *
 * @throws Refusal where it is broken, has no such column, or a row has no text
 */
export async function* readParquetDocuments(file: string, textField: string): AsyncGenerator<Document> {
  const { size } = await stat(file);
  const task: ParquetTask = { file, textField };
  const worker = new Worker(new URL('parquet-worker.js', import.meta.url), {
    workerData: task,
    resourceLimits: { maxOldGenerationSizeMb: HEAP.base + Math.ceil((HEAP.each * size) / 2 ** 20) },
  });
  try {
    let row = 0;
    for (;;) {
      const reply = await ask(worker);
      if (reply.kind === 'end') return;
      if (reply.kind === 'failed') throw unreadable(file, reply.reason);
      if (reply.kind === 'no column') {
        throw new Refusal(
          `${file} has no column "${textField}" (it has: ${reply.columns.join(', ')}).`,
          'Name it with --text-field.',
        );
      }
      for (const text of reply.values) {
        const source = `${file}, row ${row++}`;
        if (typeof text !== 'string') {
          throw new Refusal(
            `${source}: column "${textField}" holds no text.`,
            'Leave the row out, or name another column with --text-field.',
          );
        }
        yield { pieces: [text], source };
      }
    }
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    throw unreadable(file, code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'it claims more than fits in memory' : message, cause);
  } finally {
    await worker.terminate();
  }
}

async function ask(worker: Worker): Promise<ParquetReply> {
  const control = new AbortController();
  const { signal } = control;
  // An error rejects this, too.
  const reply = once(worker, 'message', { signal }).then(([message]) => message as ParquetReply);
  const ended = once(worker, 'exit', { signal }).then(([code]) => {
    throw new Error(`its reader ended with code ${code}`);
  });
  try {
    worker.postMessage('next');
    return await Promise.race([reply, ended]);
  } finally {
    control.abort();
    // Neither is waited for any more.
    for (const promise of [reply, ended]) promise.catch(() => {});
  }
}

function unreadable(file: string, reason: string, cause?: unknown): Refusal {
  return new Refusal(
    `${file} could not be read as Parquet: ${reason}.`,
    'Supported are uncompressed and Snappy-compressed columns.',
    { cause },
  );
}
