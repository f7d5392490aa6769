import { parentPort, workerData } from 'node:worker_threads';
import { Refusal, refusedReply } from '../errors/refusal.js';
import type { ShardReply, ShardRequest, ShardsOf } from './checked-shards.js';
import { buffersOf } from './rows.js';
import { readShard } from './shard-file.js';

// Reads and checks shards, which are handed over as they lie in memory.

if (!parentPort) throw new Error('shard-worker.js runs in a worker thread');
const port = parentPort;
const { directory, manifest } = workerData as ShardsOf;

port.on('message', ({ i, checked, spare }: ShardRequest) => {
  const tell = (reply: ShardReply, transfer: ArrayBuffer[] = []) => port.postMessage(reply, transfer);
  readShard(directory, manifest, i, { checked, spare: spare && [spare] }).then(
    (shard) => tell({ kind: 'shard', ...shard }, buffersOf(shard.rows)),
    (error: unknown) => {
      // Anything else ends the thread, and whoever waits is told.
      if (!(error instanceof Refusal)) throw error;
      tell(refusedReply(error));
    },
  );
});
