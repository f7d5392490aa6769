import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.js';
import { firstNotFinite } from '../safetensors/floats.js';
import type { ActivationSource, SourceDescription } from './activation-source.js';
import { ActivationBatches } from './batches.js';
import { rowBytes } from './manifest.js';
import type { Examples } from './rows.js';
import { storeMemory } from './store-source.js';

/** Origin of activations in memory. */
export type ArrayOrigin = Pick<
  SourceDescription,
  'place' | 'model' | 'hook' | 'context' | 'prependBos' | 'excludedTokens' | 'corpus'
>;

/**
 * Activations in memory as a source for training. They are not copied, so the caller must not change them meanwhile.
 *
 * @param x float32 [rows × dIn], row by row
 * @throws Refusal if there are no rows, or a value is NaN or infinite
 */
export function arraySource(x: Float32Array, dIn: number, origin: ArrayOrigin): ActivationSource {
  const { place } = origin;
  const rows = x.length / dIn;
  if (rows === 0) {
    throw new Refusal(`${place} contains no rows.`, 'Give it at least one.', 'activations/no-rows');
  }
  // Rows of an array belong to no position of a text.
  const nowhere = { token: new Int32Array(rows), context: new Uint32Array(rows), pos: new Uint32Array(rows) };
  const all: Examples = { activation: x, ...nowhere };
  const wild = firstNotFinite(x, 'float32');
  if (wild >= 0) {
    throw new Refusal(
      `${place}: row ${Math.floor(wild / dIn)} holds ${x[wild]}.`,
      'Remove such rows.',
      'activations/not-finite',
    );
  }
  const manifest = { rows, d_in: dIn, dtype: 'float32' } as const;
  const one = { length: 1, rowsOf: () => rows, bytesOf: () => undefined };
  const held = { manifest, shards: one, readShard: async () => all };
  return {
    about: {
      ...origin,
      ...{ dIn, dtype: 'float32', rows, meanNorm: meanNorm(x, dIn) },
      identity: hashOf(x),
    },
    batches: (order, seed) => new ActivationBatches(held, order, seed),
    memory: () => storeMemory(rowBytes(manifest), rows, rows),
    close: async () => {},
  };
}

/** Entries hashed at a time: Node hashes less than 2 GiB per call. */
const PIECE = 2 ** 28;

function hashOf(x: Float32Array): string {
  const hash = createHash('sha256');
  for (let at = 0; at < x.length; at += PIECE) hash.update(x.subarray(at, at + PIECE));
  return hash.digest('hex');
}

/** E|x| */
function meanNorm(x: Float32Array, dIn: number): number {
  let sum = 0;
  for (let at = 0; at < x.length; at += dIn) {
    let square = 0;
    for (let i = at; i < at + dIn; i++) square += x[i]! ** 2;
    sum += Math.sqrt(square);
  }
  return sum / (x.length / dIn);
}
