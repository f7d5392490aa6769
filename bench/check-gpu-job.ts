import type { Precision } from '../src/lm/placement.js';

/** The settings of both sides of the check, as a JSON file; bench/peers/check_gpu.py reads the same. */
export interface Job {
  /** Directory of the checkpoint. */
  readonly model: string;
  /** `cpu`, `cuda` or `cuda:N`. */
  readonly device: string;
  readonly precision: Precision;
  /** Threads on the CPU. */
  readonly threads: number;
  /** Contexts of one pass, each beginning with BOS, which occurs nowhere else. */
  readonly tokens: readonly (readonly number[])[];
  readonly bos: number;
  /** Block whose hooks are read; its residual stream is what the zero ablation replaces. */
  readonly layer: number;
  readonly hooks: readonly string[];
  /** Timed passes run for this long, and at least three times. */
  readonly seconds: number;
}

/** Output of either side: rates are tokens per second (BOS included) of each timed pass. */
export interface Answer {
  readonly version: string;
  /** Seconds until the model was open. */
  readonly opening: number;
  /** Passes up to the block, rows of all hooks fetched. */
  readonly harvest: readonly number[];
  /** Losses of the clean and of the zero-ablated model. */
  readonly losses: readonly number[];
  /** Mean loss per token, nats. */
  readonly clean: number;
  readonly zero: number;
}

/** How a timed pass is repeated on our side; the peer does the same. */
export async function rates(tokens: number, seconds: number, pass: () => Promise<unknown>): Promise<number[]> {
  const found: number[] = [];
  const begun = performance.now();
  while (found.length < 3 || performance.now() - begun < 1000 * seconds) {
    const start = performance.now();
    await pass();
    found.push((1000 * tokens) / (performance.now() - start));
  }
  return found;
}
