import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { ActivationArray } from '../activations/rows.js';
import { checkFinite, checkHash, checkShard, type LoadedShard, loadShard } from '../activations/shard-file.js';
import type { ListedShard } from '../activations/shard-list.js';
import { Refusal, refusedReply } from '../errors/refusal.js';
import { ifMemoryAllows } from '../machine/webassembly.js';
import { widen } from '../safetensors/floats.js';
import { RowKernel } from './row-kernel.js';
import { type OfRows, RowSums, type RowTotals } from './row-sums.js';
import type { ShardRequest, SummedFrom, SummedReply, SummedShard } from './shard-reader.js';

// Reads and checks shards, and computes per-row statistics. Rows stay in the shared memory they are read into.

if (!parentPort) throw new Error('row-worker.js runs in a worker thread');
const port = parentPort;
const { centre, ...of } = workerData as SummedFrom;
let kernel: Promise<RowKernel | undefined> | undefined;

let before: Promise<void> = Promise.resolve();

port.on('message', ({ listed, into }: ShardRequest) => {
  // Read while the one before is summed; replies come in the order of the requests.
  const reading = loadShard(of, listed, into && [into]);
  reading.catch(() => {});
  before = before.then(() => answer(listed, reading));
});

async function answer(listed: ListedShard, reading: Promise<LoadedShard>): Promise<void> {
  try {
    const shard = await summed(listed, await reading);
    port.postMessage({ kind: 'shard', shard } satisfies SummedReply, buffersOf(shard));
  } catch (error) {
    // Anything else ends the thread, and whoever waits receives the error.
    if (!(error instanceof Refusal)) throw error;
    port.postMessage(refusedReply(error) satisfies SummedReply);
  }
}

async function summed(listed: ListedShard, loaded: LoadedShard): Promise<SummedShard> {
  const { activation, token, context, pos } = loaded.rows;
  kernel ??= ifMemoryAllows(RowKernel.open(centre, of.dtype));
  const sums = await kernel;
  if (!sums) {
    checkShard(of, listed, loaded);
    return { activation, token, context, pos, ...slowly(activation) };
  }
  const path = join(of.directory, listed.file);
  checkHash(path, loaded.bytes, listed.sha256);
  const found = sums.add(activation);
  // A value that is not finite makes its row's norm so: the square of any other fits float64.
  if (!found.norms.every(Number.isFinite)) checkFinite(path, loaded.rows, of.dtype);
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
