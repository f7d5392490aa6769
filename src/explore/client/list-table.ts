import type { FeatureRow, ListColumn, ListQuery } from '../api.js';
import { type Child, el } from './dom.js';
import { tokenChip } from './effects.js';
import { activationText, cosineText, logPlace, shareText } from './format.js';
import { foremostTokens } from './token-text.js';

interface Column {
  readonly title: string;
  readonly meaning: string;
  /** Name of the column when sorting "by …". */
  readonly by?: string;
  /** Sort key of its header; null: none. */
  readonly sorts: ListColumn | null;
  readonly kind: 'id' | 'text' | 'number' | 'number wide';
  cell(row: FeatureRow, searched: string): Child;
}

/** Max tokens shown per row; more would be cut off anyway. */
const MOST_TOKENS = 6;
/** Lower end of the frequency bars: once in ten million tokens. */
const RAREST = 1e-7;

const COLUMNS: readonly Column[] = [
  {
    title: '#',
    meaning: 'number of the feature',
    sorts: 'feature',
    by: 'number',
    kind: 'id',
    cell: ({ feature }) => feature,
  },
  {
    ...{ title: 'Label, or tokens it fires on', meaning: 'strongest first', sorts: null, kind: 'text' },
    cell: ({ label, tokens, max }, searched) =>
      label !== null
        ? el('span', { class: 'given' }, label)
        : max > 0
          ? foremostTokens(tokens, searched, MOST_TOKENS).map((token) => tokenChip(token, searched))
          : el('span', { class: 'none' }, 'never fires'),
  },
  {
    ...{ title: 'Raises', meaning: 'tokens whose logits it raises most', sorts: null, kind: 'text' },
    cell: ({ logits }, searched) =>
      foremostTokens(logits, searched, MOST_TOKENS).map((token) => tokenChip(token, searched)),
  },
  {
    ...{
      title: 'Frequency',
      meaning: 'share of tokens with f > 0',
      sorts: 'frequency',
      by: 'frequency',
      kind: 'number',
    },
    cell: ({ frequency }) => [
      shareText(frequency),
      el('span', { class: 'gauge', '--share': logPlace(frequency, RAREST, 1).toFixed(3) }),
    ],
  },
  {
    ...{ title: 'Max', meaning: 'largest f', sorts: 'max', by: 'maximum', kind: 'number' },
    cell: ({ max }) => activationText(max),
  },
  {
    ...{ title: 'Mean', meaning: 'mean of f where it fires', sorts: 'mean', by: 'mean', kind: 'number wide' },
    cell: ({ mean }) => activationText(mean),
  },
  {
    ...{
      title: 'of x̂',
      meaning: 'share of the total norm of all reconstructions',
      sorts: 'normShare',
      by: 'share of x̂',
      kind: 'number wide',
    },
    cell: ({ normShare }) => shareText(normShare),
  },
  {
    ...{
      title: 'cos d',
      meaning: 'cosine with the nearest decoder',
      sorts: 'decoderCosine',
      by: 'nearest decoder',
      kind: 'number wide',
    },
    cell: ({ decoderCosine }) => cosineText(decoderCosine),
  },
  {
    ...{
      title: 'cos(e, d)',
      meaning: 'cosine of encoder and decoder',
      sorts: 'encoderDecoderCosine',
      by: 'cos(e, d)',
      kind: 'number wide',
    },
    cell: ({ encoderDecoderCosine }) => cosineText(encoderDecoderCosine),
  },
];

/** The columns that the table can be sorted by, with their names. */
export const sortTitles: readonly (readonly [ListColumn, string])[] = COLUMNS.flatMap(({ sorts, by }) =>
  sorts === null || by === undefined ? [] : [[sorts, `by ${by}`] as const],
);

/** The query after a click on a column's header. */
export function sortedBy(query: ListQuery, column: ListColumn): ListQuery {
  const { sort = 'frequency', order = 'desc' } = query;
  // Feature numbers are first sorted in ascending order, everything else descending.
  const first = column === 'feature' ? 'asc' : 'desc';
  const next = sort === column ? (order === 'desc' ? 'asc' : 'desc') : first;
  return { ...query, sort: column, order: next, from: undefined };
}

export interface TableActions {
  /** The address of a feature. */
  href(feature: number): string;
  sort(column: ListColumn): void;
  /** A row has the pointer or the focus; null: none does. */
  pointed(row: FeatureRow | null): void;
}

/** The rows of a list. The first cell of each is a link that covers its row. */
export function featureTable(
  rows: readonly FeatureRow[],
  query: ListQuery,
  chosen: number | null,
  actions: TableActions,
): HTMLTableElement {
  const { sort = 'frequency', order = 'desc' } = query;
  const heads = COLUMNS.map(({ title, meaning, sorts, kind }) => {
    const sorted = sorts === sort ? (order === 'asc' ? 'ascending' : 'descending') : null;
    const name = sorts === null ? title : el('button', { type: 'button', onclick: () => actions.sort(sorts) }, title);
    return el('th', { class: kind, scope: 'col', title: meaning, 'aria-sort': sorted }, name);
  });
  const body = rows.map((row) => {
    const current = row.feature === chosen;
    const cells = COLUMNS.map((column) =>
      column.kind === 'id'
        ? el(
            'th',
            { class: 'id', scope: 'row' },
            el('a', { href: actions.href(row.feature), 'aria-current': current && 'true' }, row.feature),
          )
        : el('td', { class: column.kind }, column.cell(row, query.q ?? '')),
    );
    return el(
      'tr',
      {
        'data-feature': row.feature,
        class: current ? 'chosen' : null,
        onpointerenter: () => actions.pointed(row),
        onpointerleave: () => actions.pointed(null),
        onfocusin: () => actions.pointed(row),
        onfocusout: () => actions.pointed(null),
      },
      cells,
    );
  });
  return el('table', { class: 'features' }, el('thead', {}, el('tr', {}, heads)), el('tbody', {}, body));
}
