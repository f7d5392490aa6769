import type { EvalRecord } from '../../src/eval/record.js';
import { type Entry, entriesOf } from '../../src/report/entries.js';
import type { EvaluatedSae } from '../../src/report/read.js';
import type { MetricsRecord } from '../../src/train/metrics-record.js';

/** A plausible SAE. Losses follow from loss_recovered unless they are given. */
export function evalRecord(changes: Partial<EvalRecord> = {}): EvalRecord {
  const recovered = changes.loss_recovered ?? 0.95;
  return {
    sae: 'runs/a',
    architecture: 'gated',
    hook: 'blocks.1.hook_resid_post',
    model: 'tiny-gemma',
    d_in: 64,
    d_sae: 512,
    tokens: 4096,
    ce_clean: 2.5,
    ce_spliced: 2.5 + 10 * (1 - recovered),
    ce_zero: 12.5,
    loss_recovered: recovered,
    kl: 0.51,
    l0: 20,
    mse: 3,
    explained_variance: 0.812,
    cosine: 0.913,
    relative_reconstruction_bias: 0.987,
    dead_fraction: 12 / 512,
    density_histogram: { log10_edges: [-4, -3, -2, -1, 0], counts: [0, 100, 300, 100], dead: 12 },
    training_curve: null,
    cfg: { architecture: 'gated', d_sae: 512, metadata: { training: { l1: 0.5 } } },
    ...changes,
  };
}

/** A curve of `lines` lines, 1000 activations each. */
export function curve(lines: number, changes: Partial<MetricsRecord> = {}): MetricsRecord[] {
  return Array.from({ length: lines }, (_, i) => ({
    step: i + 1,
    tokens: 1000 * (i + 1),
    loss: 100 / (i + 1),
    mse: 1,
    l1: 1,
    aux: 1,
    l0: 40 - i / lines,
    explained_variance: 0.5,
    dead_fraction: 0.01,
    lr: 3e-4,
    tokens_per_second: 1e5,
    ...changes,
  }));
}

/** Two sweeps at one hook: gated has L0 100, 10 and standard 200, 20, 2 for their loss recovered. */
export function sweep(): EvaluatedSae[] {
  const points = [
    ['gated', 10, 0.9],
    ['gated', 100, 0.99],
    ['standard', 2, 0.8],
    ['standard', 20, 0.9],
    ['standard', 200, 0.98],
  ] as const;
  return points.map(([architecture, l0, loss_recovered]) => ({
    record: evalRecord({ sae: `runs/${architecture}-${l0}`, architecture, l0, loss_recovered }),
    curve: curve(30),
  }));
}

export function entries(...changes: Partial<EvalRecord>[]): Entry[] {
  return entriesOf(changes.map((change) => ({ record: evalRecord(change), curve: [] })));
}

/** How often `needle` occurs. */
export function occurrences(text: { toString(): string }, needle: string): number {
  return String(text).split(needle).length - 1;
}
