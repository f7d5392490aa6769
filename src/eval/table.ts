import type { EvalRecord } from './record.js';

/** The evaluation as a table for the terminal. */
export function recordTable(records: readonly EvalRecord[]): string {
  const columns: [string, (r: EvalRecord) => string][] = [
    ['SAE', (r) => r.sae],
    ['architecture', (r) => r.architecture],
    ['d_sae', (r) => String(r.d_sae)],
    ['L0', (r) => r.l0.toFixed(1)],
    ['loss recovered', (r) => `${(100 * r.loss_recovered).toFixed(2)} %`],
    ['CE clean', (r) => r.ce_clean.toFixed(4)],
    ['spliced', (r) => r.ce_spliced.toFixed(4)],
    ['zero', (r) => r.ce_zero.toFixed(4)],
    ['KL', (r) => r.kl.toFixed(4)],
    ['expl. var.', (r) => r.explained_variance.toFixed(4)],
    ['cosine', (r) => r.cosine.toFixed(4)],
    ['γ', (r) => r.relative_reconstruction_bias.toFixed(3)],
    ['dead', (r) => `${(100 * r.dead_fraction).toFixed(1)} %`],
  ];
  const rows = [columns.map(([head]) => head), ...records.map((record) => columns.map(([, cell]) => cell(record)))];
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  const line = (row: string[]) =>
    row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ');
  const first = records[0];
  const note = first
    ? `over ${first.tokens} tokens; BOS positions are left out of every mean; losses in nats a token`
    : '';
  return [...rows.map(line), note].join('\n');
}
