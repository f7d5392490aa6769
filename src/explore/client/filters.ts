import type { ListColumn, ListQuery } from '../api.js';
import { el } from './dom.js';
import { activationText, shareText } from './format.js';

interface RangeFilter {
  readonly column: ListColumn;
  readonly title: string;
  /** Factor for numbers typed here; shares are typed as percentages. */
  readonly scale: number;
  readonly text: (value: number) => string;
}

const cosine = (value: number) => String(value).replace('-', '−');

const RANGES: readonly RangeFilter[] = [
  { column: 'frequency', title: 'Frequency, %', scale: 0.01, text: shareText },
  { column: 'max', title: 'Maximum', scale: 1, text: activationText },
  { column: 'decoderCosine', title: 'Nearest decoder, cos', scale: 1, text: cosine },
  { column: 'encoderDecoderCosine', title: 'cos(e, d)', scale: 1, text: cosine },
];

const EITHER = {
  alive: { title: 'Activity', names: ['any', 'fires', 'never fires'] },
  labelled: { title: 'Label', names: ['any', 'labelled', 'not labelled'] },
} as const;

/** The query with one bound removed or replaced. */
export function boundedBy(query: ListQuery, column: ListColumn, bound: readonly [number, number] | null): ListQuery {
  const { [column]: _, ...others } = query.bounds ?? {};
  const open = bound === null || (bound[0] === -Infinity && bound[1] === Infinity);
  const bounds = open ? others : { ...others, [column]: bound };
  return { ...query, bounds: Object.keys(bounds).length > 0 ? bounds : undefined, from: undefined };
}

/** The filters of a list in words, each with the query without it. */
export function activeFilters(query: ListQuery): readonly { readonly text: string; readonly without: ListQuery }[] {
  const found: { text: string; without: ListQuery }[] = [];
  if (query.alive !== undefined) {
    found.push({
      text: query.alive ? 'fires' : 'never fires',
      without: { ...query, alive: undefined, from: undefined },
    });
  }
  if (query.labelled !== undefined) {
    const text = query.labelled ? 'labelled' : 'not labelled';
    found.push({ text, without: { ...query, labelled: undefined, from: undefined } });
  }
  for (const [column, [least, most]] of Object.entries(query.bounds ?? {}) as [ListColumn, [number, number]][]) {
    const { title, text } = RANGES.find((one) => one.column === column) ?? { title: column, text: String };
    const ends = [least === -Infinity ? '' : `${text(least)} ≤ `, most === Infinity ? '' : ` ≤ ${text(most)}`];
    const name = title.replace(/, .*/, '').toLowerCase();
    found.push({ text: `${ends[0]}${name}${ends[1]}`, without: boundedBy(query, column, null) });
  }
  return found;
}

/** The form for filtering a list. */
export function filterForm(query: ListQuery, requery: (query: ListQuery) => void): HTMLElement {
  const choices = (Object.keys(EITHER) as (keyof typeof EITHER)[]).map((key) => {
    const { title, names } = EITHER[key];
    const values = [undefined, 1, 0] as const;
    const options = names.map((name, i) => el('option', { value: i, selected: query[key] === values[i] }, name));
    const select = el('select', {}, options);
    select.addEventListener('change', () =>
      requery({ ...query, [key]: values[select.selectedIndex], from: undefined }),
    );
    return el('label', { class: 'field' }, el('span', {}, title), select);
  });
  return el(
    'form',
    { class: 'filters', 'aria-label': 'Filters', onsubmit: (event: Event) => event.preventDefault() },
    choices,
    RANGES.map((range) => rangeField(range, query, requery)),
  );
}

function rangeField({ column, title, scale }: RangeFilter, query: ListQuery, requery: (query: ListQuery) => void) {
  const bound = query.bounds?.[column] ?? [-Infinity, Infinity];
  const [least, most] = bound.map((value, i) =>
    el('input', {
      ...{ type: 'text', inputmode: 'decimal', size: 6, placeholder: i === 0 ? 'min' : 'max', autocomplete: 'off' },
      ...{ 'aria-label': `${title}, ${i === 0 ? 'at least' : 'at most'}` },
      value: Number.isFinite(value) ? String(Number((value / scale).toPrecision(4))) : '',
    }),
  ) as [HTMLInputElement, HTMLInputElement];
  const apply = () => {
    const ends = [least, most].map((field, i) => {
      const value = field.value.trim() === '' ? (i === 0 ? -Infinity : Infinity) : Number(field.value) * scale;
      return value;
    }) as [number, number];
    const crossed = ends[0] > ends[1];
    for (const [i, field] of [least, most].entries()) {
      field.setAttribute('aria-invalid', String(crossed || Number.isNaN(ends[i])));
    }
    if (!crossed && !ends.some(Number.isNaN)) requery(boundedBy(query, column, ends));
  };
  for (const field of [least, most]) field.addEventListener('change', apply);
  return el('div', { class: 'field', role: 'group', 'aria-label': title }, el('span', {}, title), least, most);
}
