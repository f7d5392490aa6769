import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { ActivationArray } from '../activations/rows.js';
import { checkFinite, readShard } from '../activations/shard-file.js';
import { Refusal, refusedReply } from '../errors/refusal.js';
import { ifMemoryAllows } from '../machine/webassembly.js';
import { widen } from '../safetensors/floats.js';
import { RowKernel } from './row-kernel.js';
import { type OfRows, RowSums, type RowTotals } from './row-sums.js';
import type { ShardRequest, SummedFrom, SummedReply, SummedShard } from './shard-reader.js';

// Reads and checks shards, and computes per-row statistics; shards are transferred without copying.

if (!parentPort) throw new Error('row-worker.js runs in a worker thread');
const port = parentPort;
const { centre, ...of } = workerData as SummedFrom;
let kernel: Promise<RowKernel | undefined> | undefined;

port.on('message', (request: ShardRequest) => {
  read(request).then(
    (shard) => port.postMessage({ kind: 'shard', shard } satisfies SummedReply, buffersOf(shard)),
    (error: unknown) => {
      // Anything else ends the thread, and whoever waits receives the error.
      if (!(error instanceof Refusal)) throw error;
      port.postMessage(refusedReply(error) satisfies SummedReply);
    },
  );
});

async function read({ listed, into }: ShardRequest): Promise<SummedShard> {
  kernel ??= ifMemoryAllows(RowKernel.open(centre, of.dtype));
  const sums = await kernel;
  const { rows } = await readShard(of, listed, { spare: into && [into], finiteUnknown: sums !== undefined });
  const { activation, token, context, pos } = rows;
  if (!sums) return { activation, token, context, pos, ...slowly(activation) };
  const found = sums.add(activation);
  // A value that is not finite makes its row's norm so: the square of any other fits float64.
  if (!found.norms.every(Number.isFinite)) checkFinite(join(of.directory, listed.file), rows, of.dtype);
  return { activation, token, context, pos, ...found };
}

function slowly(activation: ActivationArray): OfRows & { readonly totals: RowTotals } {
  const rows = new RowSums(centre);
  return { ...rows.add(widen(activation, of.dtype)), totals: rows.totals };
}

function buffersOf({ activation, token, context, pos, norms, spreads, totals }: SummedShard): ArrayBuffer[] {
  const columns = [activation, token, context, pos, norms, spreads, ...Object.values(totals)];
  return [...new Set(columns.map(({ buffer }) => buffer))].filter((buffer) => buffer instanceof ArrayBuffer);
}
