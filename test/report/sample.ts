import { parseHTML } from 'linkedom';
import type { EvalRecord, EvaluatedSae } from '../../src/eval/record.js';
import { type Entry, entriesOf } from '../../src/report/entries.js';
import type { MetricsRecord } from '../../src/sae/training-curve.js';

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

/** An evaluation with everything that `eval` measures: 30 SAEs, gated and standard over five sparsities at three sites. */
export function fullSweep(): EvaluatedSae[] {
  const sites = [
    { hook: 'blocks.2.hook_resid_post', zero: 12.5, level: 0.97 },
    { hook: 'blocks.2.attn.hook_z', zero: 2.9, level: 0.8 },
    { hook: 'blocks.2.hook_mlp_out', zero: 3.4, level: 0.88 },
  ];
  return sites.flatMap(({ hook, zero, level }) =>
    ['gated', 'standard'].flatMap((architecture) =>
      Array.from({ length: 5 }, (_, i) => {
        const l0 = 6 * 2.1 ** i * (architecture === 'gated' ? 1 : 1.5);
        // Loss that is not recovered falls as a power of L0; standard SAEs need twice the features.
        const lost = (1 - level) * ((architecture === 'gated' ? l0 : l0 / 2) / 20) ** -0.7;
        return {
          record: measuredRecord({ hook, architecture, l0, loss_recovered: 1 - lost, ce_zero: zero }, i),
          curve: curve(60, { l0 }),
        };
      }),
    ),
  );
}

/** A record with every optional key, around the values given. */
function measuredRecord(
  changes: Partial<EvalRecord> & { l0: number; loss_recovered: number; ce_zero: number },
  i: number,
): EvalRecord {
  const { l0, loss_recovered: recovered, ce_zero, architecture, hook } = changes;
  const delta = (1 - recovered) * (ce_zero - 2.5);
  const width = Math.max(1, Math.ceil(l0 / 12));
  const bias = architecture === 'gated' ? 0.99 + 0.002 * i : 0.75 + 0.04 * i;
  const bins = 40;
  const edges = [1, 17, 33, 65, 129, 255];
  const falling = edges.slice(1).map((_, k) => 3 - 0.2 * k);
  return evalRecord({
    sae: `runs/${hook}/${architecture}-${i}`,
    ce_spliced: 2.5 + delta,
    delta_ce: delta,
    contexts: 200,
    fvu: 0.2,
    explained_variance: 0.8,
    explained_variance_tokens: 0.78,
    norm_ratio: 0.9,
    dense_fraction: 0.01,
    relative_reconstruction_bias: bias,
    decoder_max_cosine: { mean: 0.3, largest: 0.97 },
    l0_histogram: {
      edges: Array.from({ length: bins + 1 }, (_, k) => k * width),
      counts: Array.from({ length: bins }, (_, k) =>
        Math.round(1000 * Math.exp(-(((k * width - l0) / (0.45 * l0)) ** 2))),
      ),
    },
    loss_by_position: {
      edges,
      ce_clean: falling,
      ce_spliced: falling.map((loss) => loss + delta),
      ce_zero: falling.map(() => ce_zero),
    },
    intervals: {
      loss_recovered: [recovered - 0.05 * (1 - recovered), recovered + 0.05 * (1 - recovered)],
      l0: [0.95 * l0, 1.05 * l0],
      delta_ce: [0.95 * delta, 1.05 * delta],
      relative_reconstruction_bias: [bias - 0.01, bias + 0.01],
    },
    cfg: {
      architecture,
      metadata: {
        sae_pipe: { arch: architecture, d_sae: 512, l1: i + 1, l1_warmup: 0, lr: 1e-3, batch: 1024, steps: 100 },
      },
    },
    ...changes,
  });
}

/** The elements of a page or a figure that match a CSS selector. */
export function elements(
  text: { toString(): string },
  selector: string,
): { getAttribute(name: string): string | null; textContent: string }[] {
  const { document } = parseHTML(
    `<html><body>${String(text).replace(/^<!doctype html>\s*<html lang="en">|<\/html>\s*$/g, '')}</body></html>`,
  );
  return [...document.querySelectorAll(selector)] as never;
}
