import { parentPort, workerData } from 'node:worker_threads';
import { buffersOf } from '../activations/rows.js';
import { readShard } from '../activations/store.js';
import { Refusal, refusedReply } from '../errors/refusal.js';
import type { ShardReply, ShardsOf } from './shard-reader.js';

// Reads and checks shards, which are handed over as they lie in memory.

if (!parentPort) throw new Error('shard-worker.js runs in a worker thread');
const port = parentPort;
const { directory, manifest } = workerData as ShardsOf;

port.on('message', (i: number) => {
  const tell = (reply: ShardReply, transfer: ArrayBuffer[] = []) => port.postMessage(reply, transfer);
  readShard(directory, manifest, i).then(
    (rows) => tell({ kind: 'shard', rows }, buffersOf(rows)),
    (error: unknown) => {
      // Anything else ends the thread, and whoever waits is told.
      if (!(error instanceof Refusal)) throw error;
      tell(refusedReply(error));
    },
  );
});
