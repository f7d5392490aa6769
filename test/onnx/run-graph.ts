import type { Tensor } from 'onnxruntime-node';
import type { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';

/** A value to feed: shape and entries. */
export interface Fed {
  readonly dtype?: 'float32' | 'int64' | 'bool';
  readonly dims: readonly number[];
  readonly data: readonly number[];
}

export async function tensor({ dtype = 'float32', dims, data }: Fed): Promise<Tensor> {
  const { Tensor } = await onnxRuntime();
  if (dtype === 'int64') return new Tensor('int64', BigInt64Array.from(data, BigInt), dims);
  if (dtype === 'bool') return new Tensor('bool', Uint8Array.from(data), dims);
  return new Tensor('float32', Float32Array.from(data), dims);
}

/** Runs a graph once on the CPU; outputs with their numbers. */
export async function runGraph(
  graph: GraphBuilder,
  feeds: Record<string, Fed> = {},
): Promise<Record<string, { dims: number[]; data: number[]; type: string }>> {
  const session = await openSession(graph.encode(), { threads: 1 });
  try {
    const fed: Record<string, Tensor> = {};
    for (const [name, value] of Object.entries(feeds)) fed[name] = await tensor(value);
    const results = Object.entries(await session.run(fed));
    return Object.fromEntries(
      results.map(([name, { dims, data, type }]) => [
        name,
        { dims: [...dims], data: Array.from(data as ArrayLike<number | bigint>, Number), type },
      ]),
    );
  } finally {
    await session.release();
  }
}
