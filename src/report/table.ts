import { distinct, type Entry } from './entries.js';
import { fixed, integer, percent } from './format.js';
import { type Markup, markup } from './markup.js';
import { marker } from './svg.js';

interface Column {
  title: string;
  /** Which way is better. */
  better?: '↑' | '↓' | '→ 1';
  unit?: string;
  definition: string;
  cell: (entry: Entry) => string;
}

/** The measured columns, with their definitions as src/eval/record.ts has them. */
const COLUMNS: readonly Column[] = [
  {
    title: 'd_sae',
    unit: 'features',
    definition: 'Number of features of the dictionary.',
    cell: ({ record }) => integer(record.d_sae),
  },
  {
    title: 'L0',
    better: '↓',
    unit: 'a token',
    definition: 'Mean number of active features a token.',
    cell: ({ record }) => fixed(record.l0, 1),
  },
  {
    title: 'Loss recovered',
    better: '↑',
    unit: '%',
    definition: '1 − (CE(x̂) − CE(x)) / (CE(0) − CE(x)).',
    cell: ({ record }) => percent(record.loss_recovered, 2),
  },
  {
    title: 'ΔCE',
    better: '↓',
    unit: 'nats',
    definition: 'CE(x̂) − CE(x): cross-entropy that splicing adds, in nats a token.',
    cell: ({ record }) => fixed(record.ce_spliced - record.ce_clean, 4),
  },
  {
    title: 'KL',
    better: '↓',
    unit: 'nats',
    definition: 'Mean KL(clean ‖ spliced) of the next-token distributions, in nats.',
    cell: ({ record }) => fixed(record.kl, 4),
  },
  {
    title: 'Explained variance',
    better: '↑',
    definition: '1 − Σ|x − x̂|² / Σ|x − x̄|².',
    cell: ({ record }) => fixed(record.explained_variance, 3),
  },
  {
    title: 'Cosine',
    better: '↑',
    definition: 'Mean cosine of x and x̂.',
    cell: ({ record }) => fixed(record.cosine, 3),
  },
  {
    title: 'γ',
    better: '→ 1',
    definition: 'Relative reconstruction bias, γ = E|x̂|² / E[x̂·x]. Below 1 is shrinkage.',
    cell: ({ record }) => fixed(record.relative_reconstruction_bias, 3),
  },
  {
    title: 'Dead',
    better: '↓',
    unit: '%',
    definition: 'Share of features active on none of the counted positions.',
    cell: ({ record }) => percent(record.dead_fraction, 2),
  },
];

function head({ title, better, unit, definition }: Column): Markup {
  const arrow = better === undefined ? null : markup`\u00a0<span class="better">${better}</span>`;
  return markup`<th scope="col" class="number" title="${definition}">${title}${arrow}<span class="unit">${unit ?? ''}</span></th>`;
}

/** An architecture's marker among text. */
export function inlineMarker(style: number): Markup {
  return markup`<svg class="inline" aria-hidden="true" viewBox="-7 -7 14 14">${marker(0, 0, style)}</svg>`;
}

function row(entry: Entry): Markup {
  const cells = COLUMNS.map((column) => markup`<td class="number">${column.cell(entry)}</td>`);
  return markup`<tr data-sae="${entry.index}"><th scope="row" title="${entry.record.sae}">${inlineMarker(entry.style)}${entry.name}</th><td>${entry.record.architecture}</td>${cells}</tr>
`;
}

/** Table 1: the headline numbers, a row an SAE, a group of rows a hook. */
export function headlineTable(entries: readonly Entry[]): Markup {
  const sites = distinct(entries.map(({ site }) => site));
  const bodies = sites.map((site) => {
    const group =
      sites.length > 1
        ? markup`<tr class="group"><th scope="rowgroup" colspan="${COLUMNS.length + 2}">${site}</th></tr>`
        : null;
    return markup`<tbody>${group}${entries.filter((entry) => entry.site === site).map(row)}</tbody>`;
  });
  return markup`<table>
<thead><tr><th scope="col" title="Last part of the SAE’s path.">SAE</th><th scope="col">Architecture</th>${COLUMNS.map(head)}</tr></thead>
${bodies}
</table>`;
}
