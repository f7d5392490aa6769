/**
 * The headline numbers of an evaluation as a table in Markdown, on standard output; where there are several seeds, the
 * ratio of firing features for each of them, too. Needs `npm run build`.
 *
 *     node scripts/results-table.mjs EVAL_JSON
 */
import { readFileSync } from 'node:fs';
import { familyOf } from '../dist/src/report/family-styles.js';
import { firingRatio } from '../dist/src/report/firing-ratio.js';

const records = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const seedOf = (record) => record.cfg.metadata.sae_pipe.seed;
const seeds = [...new Set(records.map(seedOf))].sort();
const percent = (share) => `${(100 * share).toFixed(2)} %`;
const rows = records.map((record) => {
  // The run's sparsity setting: a target L0, k, or λ.
  const { l0: target, k, l1 } = record.cfg.metadata.sae_pipe;
  const sparsity = target != null ? `L0 ${target}` : k != null ? `k ${k}` : l1;
  const { hook, l0, loss_recovered, explained_variance, relative_reconstruction_bias: bias } = record;
  return [
    hook,
    familyOf(record),
    sparsity,
    ...(seeds.length > 1 ? [seedOf(record)] : []),
    l0.toFixed(1),
    percent(loss_recovered),
    percent(explained_variance),
    bias.toFixed(3),
  ];
});
const penalised = rows.every(([, , sparsity]) => typeof sparsity !== 'string');
const head = [
  ...['hook', 'SAE', penalised ? 'λ' : 'λ, k or target'],
  ...(seeds.length > 1 ? ['seed'] : []),
  ...['L0', 'loss recovered', 'explained variance', 'γ'],
];
const lines = [head, head.map((_, i) => (i < 2 ? '---' : '--:')), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
process.stdout.write(`${[...lines, ...ratios()].join('\n')}\n`);

/** Gated over standard at equal loss recovered, a line per hook, from two seeds on. */
function ratios() {
  // Quantiles of Student's t at 97.5 %, by the number of seeds.
  const t = { 2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776 }[seeds.length];
  if (t === undefined) return [];
  return [...new Set(records.map(({ hook }) => hook))].flatMap((hook) => {
    const curve = (family, seed) =>
      records
        .filter((record) => record.hook === hook && seedOf(record) === seed && familyOf(record) === family)
        .map(({ l0, loss_recovered }) => ({ l0, recovered: loss_recovered }));
    const found = seeds.map((seed) => firingRatio(curve('gated', seed), curve('standard', seed)));
    if (found.some(({ kind }) => kind !== 'ratio')) return [];
    const logs = found.map(({ mean }) => Math.log(mean));
    const mean = logs.reduce((sum, log) => sum + log, 0) / logs.length;
    const spread = Math.sqrt(logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (logs.length - 1));
    const half = (t * spread) / Math.sqrt(logs.length);
    const [low, high] = [mean - half, mean + half].map((log) => Math.exp(log).toFixed(2));
    return [
      '',
      `Firing features of gated over standard SAEs at equal loss recovered, ${hook}, by seed: ${found.map((one) => one.mean.toFixed(2)).join(', ')}; geometric mean ${Math.exp(mean).toFixed(2)} (95 % interval over seeds ${low} to ${high}, Student's t of the logarithms).`,
    ];
  });
}
