import { parentPort, workerData } from 'node:worker_threads';
import type { ActivationArray } from '../activations/rows.js';
import { readShard } from '../activations/shard-file.js';
import type { ListedShard } from '../activations/shard-list.js';
import { Refusal, refusedReply } from '../errors/refusal.js';
import { ifMemoryAllows } from '../machine/webassembly.js';
import { widen } from '../safetensors/floats.js';
import { RowKernel } from './row-kernel.js';
import { type OfRows, RowSums, type RowTotals } from './row-sums.js';
import type { SummedFrom, SummedReply, SummedShard } from './shard-reader.js';

// Reads and checks shards, and computes per-row statistics; shards are transferred without copying.

if (!parentPort) throw new Error('row-worker.js runs in a worker thread');
const port = parentPort;
const { centre, ...of } = workerData as SummedFrom;
let kernel: Promise<RowKernel | undefined> | undefined;

port.on('message', (listed: ListedShard) => {
  read(listed).then(
    (shard) => port.postMessage({ kind: 'shard', shard } satisfies SummedReply, buffersOf(shard)),
    (error: unknown) => {
      // Anything else ends the thread, and whoever waits receives the error.
      if (!(error instanceof Refusal)) throw error;
      port.postMessage(refusedReply(error) satisfies SummedReply);
    },
  );
});

async function read(listed: ListedShard): Promise<SummedShard> {
  const { rows } = await readShard(of, listed);
  const { activation, token, context, pos } = rows;
  kernel ??= ifMemoryAllows(RowKernel.open(centre, of.dtype));
  return { activation, token, context, pos, ...found(activation, await kernel) };
}

function found(activation: ActivationArray, sums: RowKernel | undefined): OfRows & { readonly totals: RowTotals } {
  if (sums) return sums.add(activation);
  const rows = new RowSums(centre);
  return { ...rows.add(widen(activation, of.dtype)), totals: rows.totals };
}

function buffersOf({ activation, token, context, pos, norms, spreads, totals }: SummedShard): ArrayBuffer[] {
  const columns = [activation, token, context, pos, norms, spreads, ...Object.values(totals)];
  return [...new Set(columns.map(({ buffer }) => buffer as ArrayBuffer))];
}
