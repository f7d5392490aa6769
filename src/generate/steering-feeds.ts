import type { Tensor } from 'onnxruntime-node';
import type { Feeds } from '../onnx/session.js';
import type { RowChanges } from './changes.js';
import { changeInputs, type SteeredSae } from './steering-graph.js';

/** Inputs of steeringHook that stay the same during generation. */
export function changeFeeds(saes: readonly SteeredSae[], rows: readonly RowChanges[], tensor: typeof Tensor): Feeds {
  const feeds: Feeds = {};
  for (const k of saes.keys()) {
    const { features } = rows[0]!.ofSaes[k]!;
    const names = changeInputs(k);
    const numbers = BigInt64Array.from(features, BigInt);
    feeds[names.features] = new tensor('int64', numbers, [features.length]);
    for (const name of ['scale', 'shift'] as const) {
      const values = Float32Array.from(rows.flatMap(({ ofSaes }) => ofSaes[k]![name]));
      feeds[names[name]] = new tensor('float32', values, [rows.length, features.length]);
    }
  }
  return feeds;
}
