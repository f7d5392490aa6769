import { parentPort, workerData } from 'node:worker_threads';
import { Refusal, refusedReply } from '../errors/refusal.js';
import type { ShardReply, ShardRequest } from './checked-shards.js';
import { transferOf } from './rows.js';
import { readShard, type ShardsOf } from './shard-file.js';

// Reads and checks shards, and transfers their memory where it is not shared.

if (!parentPort) throw new Error('shard-worker.js runs in a worker thread');
const port = parentPort;
const of = workerData as ShardsOf;

port.on('message', ({ shard: listed, checked, into }: ShardRequest) => {
  const tell = (reply: ShardReply, transfer: ArrayBuffer[] = []) => port.postMessage(reply, transfer);
  readShard(of, listed, { checked, spare: into && [into] }).then(
    (shard) => tell({ kind: 'shard', ...shard }, transferOf(shard.rows)),
    (error: unknown) => {
      // Anything else ends the thread, and rejects pending requests.
      if (!(error instanceof Refusal)) throw error;
      tell(refusedReply(error));
    },
  );
});
