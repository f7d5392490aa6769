/**
 * The headline numbers of an evaluation as a table in Markdown, on standard output; needs `npm run build`.
 *
 *     node scripts/results-table.mjs EVAL_JSON
 */
import { readFileSync } from 'node:fs';
import { familyOf } from '../dist/src/report/family-styles.js';

const records = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const percent = (share) => `${(100 * share).toFixed(2)} %`;
const rows = records.map((record) => {
  // What the run was told about sparsity: a target L0, k, or λ.
  const { l0: target, k, l1 } = record.cfg.metadata.sae_pipe;
  const sparsity = target != null ? `L0 ${target}` : k != null ? `k ${k}` : l1;
  const { hook, l0, loss_recovered, explained_variance, relative_reconstruction_bias: bias } = record;
  return [
    hook,
    familyOf(record),
    sparsity,
    l0.toFixed(1),
    percent(loss_recovered),
    percent(explained_variance),
    bias.toFixed(3),
  ];
});
const penalised = rows.every(([, , sparsity]) => typeof sparsity !== 'string');
const head = ['hook', 'SAE', penalised ? 'λ' : 'λ, k or target', 'L0', 'loss recovered', 'explained variance', 'γ'];
const lines = [head, head.map((_, i) => (i < 2 ? '---' : '--:')), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
process.stdout.write(`${lines.join('\n')}\n`);
