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
  const { l1 } = record.cfg.metadata.sae_pipe;
  const { hook, l0, loss_recovered, explained_variance, relative_reconstruction_bias: bias } = record;
  return [
    hook,
    familyOf(record),
    l1,
    l0.toFixed(1),
    percent(loss_recovered),
    percent(explained_variance),
    bias.toFixed(3),
  ];
});
const head = ['hook', 'SAE', 'λ', 'L0', 'loss recovered', 'explained variance', 'γ'];
const lines = [head, head.map((_, i) => (i < 2 ? '---' : '--:')), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
process.stdout.write(`${lines.join('\n')}\n`);
