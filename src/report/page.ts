import { createHash } from 'node:crypto';

/** A figure with its caption. The number is the figure's on the page, and its SVG's id is figure-NUMBER. */
export function captionedFigure(number: number, svg: Markup, caption: MarkupPart, made: MarkupPart = null): Markup {
  const region = `Figure ${number}`;
  return markup`<figure>
<div class="scroll" tabindex="0" role="region" aria-label="${region}">${svg}</div>
<figcaption><b>Figure ${number}.</b> ${caption}<button class="save" type="button" hidden data-figure="figure-${number}" title="Save figure ${number} as an SVG file">SVG</button>${made}</figcaption>
</figure>
`;
}

/** Placeholder for a figure without data. */
export function absentFigure(number: number, reason: string): Markup {
  return markup`<figure><p class="absent"><b>Figure ${number}.</b> ${reason}</p></figure>
`;
}

/** A table with its caption above it. */
export function captionedTable(number: number, table: Markup, caption: MarkupPart, made: MarkupPart = null): Markup {
  return markup`<figure class="table">
<figcaption id="table-${number}"><b>Table ${number}.</b> ${caption}${made}</figcaption>
<div class="scroll" tabindex="0" role="region" aria-labelledby="table-${number}">${table}</div>
</figure>
`;
}

/**
 * The complete, self-contained HTML document.
 *
 * @param saes number of SAEs on the page
 */
export function page({ title, saes, body }: Readonly<{ title: string; saes: number; body: MarkupPart }>): string {
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src ${new Markup(scriptHash(PAGE_SCRIPT))}">
<title>${title}</title>
<style>
${new Markup(styleSheet(saes))}</style>
</head>
<body>
<main>
${body}
</main>
<script>${new Markup(PAGE_SCRIPT)}</script>
</body>
</html>
`.text;
}

/**
 * Markup that can be inserted into the page unescaped.
 *
 * A class, not a string, so that the compiler and the template below can distinguish it from text, which is always
 * escaped.
 */
export class Markup {
  constructor(readonly text: string) {}

  toString(): string {
    return this.text;
  }
}

/** Contents of a template. Text is escaped, numbers are coordinates (two decimals), nothing is silently omitted. */
export type MarkupPart = Markup | string | number | null | readonly MarkupPart[];

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/**
 * Characters forbidden in HTML or XML even if escaped: controls except tab and newline, unpaired surrogates,
 * noncharacters.
 */
const FORBIDDEN = /(?![\n\t])[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/gu;

/** Replaces characters that no document may contain by U+FFFD: names and settings come from files. */
export function withoutForbidden(text: string): string {
  return text.replace(FORBIDDEN, '\uFFFD');
}

/** Escapes text for HTML and XML, in element content and in quoted attributes. */
export function escapeText(text: string): string {
  return withoutForbidden(text).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}

/** A coordinate with at most two decimals. */
export function coordinate(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`${value} is not a coordinate: filter values before scaling them`);
  return String(Math.round(value * 100) / 100);
}

function write(part: MarkupPart): string {
  if (part === null) return '';
  if (part instanceof Markup) return part.text;
  if (typeof part === 'string') return escapeText(part);
  if (typeof part === 'number') return coordinate(part);
  return part.map(write).join('');
}

/** Template tag for HTML and SVG: literal parts are kept, interpolated values are escaped. */
export function markup(literal: TemplateStringsArray, ...parts: MarkupPart[]): Markup {
  let text = literal[0] ?? '';
  for (const [i, part] of parts.entries()) text += write(part) + (literal[i + 1] ?? '');
  return new Markup(text);
}

/**
 * Saves a figure as a separate file: a copy of the SVG in which every style is an attribute (editors support few style
 * sheets and no CSS variables), in the light theme. Without scripting, the buttons stay hidden.
 */
const SAVE_SCRIPT = `
const PROPERTIES = ['fill', 'fill-opacity', 'stroke', 'stroke-width', 'stroke-opacity', 'stroke-linejoin', 'stroke-linecap',
  'stroke-dasharray', 'font-size', 'font-weight', 'text-anchor'];
function standaloneSvg(svg) {
  const copy = svg.cloneNode(true);
  document.documentElement.dataset.theme = 'light';
  const hits = copy.querySelectorAll('.hit');
  const [live, copied] = [svg, copy].map((root) => root.querySelectorAll('svg, g, path, line, circle, rect, text'));
  live.forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const property of PROPERTIES) {
      // Text has no stroke.
      if (element.tagName === 'text' ? /^stroke/.test(property) : /^(font|text)/.test(property)) continue;
      copied[i].setAttribute(property, style.getPropertyValue(property));
    }
    copied[i].removeAttribute('class');
  });
  delete document.documentElement.dataset.theme;
  hits.forEach((element) => element.remove());
  const box = svg.viewBox.baseVal;
  copy.removeAttribute('style');
  copy.removeAttribute('class');
  copy.setAttribute('width', box.width);
  copy.setAttribute('height', box.height);
  copy.setAttribute('font-family', 'Helvetica, Arial, sans-serif');
  return new XMLSerializer().serializeToString(copy);
}
for (const button of document.querySelectorAll('button.save')) {
  button.hidden = false;
  button.addEventListener('click', () => {
    const link = document.createElement('a');
    const svg = standaloneSvg(document.getElementById(button.dataset.figure));
    link.href = URL.createObjectURL(new Blob([svg], { type: 'image/svg+xml' }));
    link.download = button.dataset.figure + '.svg';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}
`;

/**
 * Sorts the rows of a table by the column whose header is clicked (or chosen with Enter), first ascending, then
 * descending. Rows stay in their group; missing values stay last. Without scripting, the table is static.
 */
const SORT_SCRIPT = `
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  const sortBy = (column) => {
    const direction = heads[column].ariaSort === 'ascending' ? -1 : 1;
    heads.forEach((head, i) => {
      if (i === column) head.ariaSort = direction === 1 ? 'ascending' : 'descending';
      else head.removeAttribute('aria-sort');
    });
    const valueOf = (row) => {
      const cell = row.cells[column];
      if (!('value' in cell.dataset)) return cell.textContent;
      return cell.dataset.value === '' ? null : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      const [x, y] = [valueOf(a), valueOf(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return direction * (typeof x === 'number' ? x - y : x < y ? -1 : x > y ? 1 : 0);
    };
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.matches('.group'));
      body.append(...rows.sort(compare));
    }
  };
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    head.classList.add('sorts');
    head.addEventListener('click', () => sortBy(column));
    head.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      sortBy(column);
    });
  });
}
`;

/** All of the page's scripts. */
const PAGE_SCRIPT = `{${SAVE_SCRIPT}}
{${SORT_SCRIPT}}
`;

/**
 * The source expression by which a Content-Security-Policy allows one particular inline script (CSP Level 3,
 * hash-source).
 */
export function scriptHash(script: string): string {
  return `'sha256-${createHash('sha256').update(script).digest('base64')}'`;
}

/** Variables for the colours of a ramp (viridis, its yellow end darkened for white backgrounds). */
function tones(colours: readonly string[]): Record<string, string> {
  return Object.fromEntries(colours.map((colour, i) => [`tone-${i}`, colour]));
}

/**
 * Colours, light and dark. The families' are those of Okabe and Ito, distinguishable for colour-blind readers; on dark
 * backgrounds they are lighter.
 */
export const LIGHT: Readonly<Record<string, string>> = {
  ink: '#1c1d1f',
  muted: '#5a5f66',
  axis: '#8d939b',
  grid: '#e7e9ec',
  rule: '#d5d8dc',
  paper: '#ffffff',
  shade: '#f5f6f7',
  'style-0': '#0072b2',
  'style-1': '#d55e00',
  'style-2': '#009e73',
  'style-3': '#cc79a7',
  'style-4': '#b07d00',
  'style-5': '#56b4e9',
  ...tones(['#440154', '#46327e', '#365c8d', '#277f8e', '#1fa187', '#3fa85c', '#88a010', '#c29000']),
};
const DARK: Readonly<Record<string, string>> = {
  ink: '#e4e5e7',
  muted: '#a2a8b0',
  axis: '#767d86',
  grid: '#2a2e33',
  rule: '#3a3f46',
  paper: '#15171a',
  shade: '#1d2024',
  'style-0': '#56aee0',
  'style-1': '#f08a4b',
  'style-2': '#35c29b',
  'style-3': '#e29cc4',
  'style-4': '#e6b84c',
  'style-5': '#9ad4f5',
  ...tones(['#b79df0', '#94a3f5', '#6fb0e8', '#4fc3cf', '#45cfae', '#77d98a', '#b9dd4f', '#f0d84a']),
};

/** A palette as CSS variable declarations. */
function declared(palette: Readonly<Record<string, string>>): string {
  return Object.entries(palette)
    .map(([name, value]) => `--${name}: ${value};`)
    .join(' ');
}

/** The reader's own sans-serif font: the page embeds none. */
const SANS = 'system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif';

/** The colours and the font of every page, as variables: `var(--ink)`, `var(--sans)`. */
export function paletteStyle(): string {
  return `:root { color-scheme: light dark; --sans: ${SANS}; ${declared(LIGHT)} }
@media screen and (prefers-color-scheme: dark) { :root:not([data-theme="light"]) { ${declared(DARK)} } }
`;
}

/** Makes figures use the page's font and colours; everything else is in their attributes. */
const FIGURE_STYLE = `
svg.plot { display: block; width: 100%; height: auto; overflow: visible; color: var(--ink); font-family: var(--sans); font-size: 11px; }
svg.plot text { white-space: pre; }
span.marker { display: inline-block; width: 0.95em; margin-right: 0.45em; vertical-align: -0.12em; line-height: 0; }
span.marker svg { width: 100%; height: auto; }
svg .hit { pointer-events: stroke; }
`;

/** Styles of the page around the figures. */
const PAGE_STYLE = `
* { box-sizing: border-box; }
body { margin: 0; padding: 3rem 1.5rem 5rem; background: var(--paper); color: var(--ink); font: 16px/1.55 var(--sans); }
main { max-width: 1060px; margin: 0 auto; }
h1 { margin: 0 0 0.4rem; font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.01em; text-wrap: balance; }
h2 { margin: 3.2rem 0 1rem; padding-top: 0.9rem; border-top: 1px solid var(--rule); font-size: 1.2rem; }
p, dl, figcaption { max-width: 44rem; }
.result { margin: 0 0 0.5rem; max-width: 46rem; font-size: 1.2rem; line-height: 1.4; overflow-wrap: anywhere; }
.summary { margin: 0; color: var(--muted); font-size: 1.05rem; overflow-wrap: anywhere; }
figure { margin: 2.6rem 0; }
figcaption { margin-top: 0.9rem; color: var(--muted); font-size: 0.875rem; line-height: 1.5; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
.table figcaption { margin: 0 0 0.7rem; }
.scroll { overflow-x: auto; }
.absent { margin: 0; padding: 1.2rem 1rem; background: var(--shade); color: var(--muted); max-width: none; }
button.save { margin-left: 0.6em; padding: 0 0.45em; border: 1px solid var(--rule); border-radius: 3px; background: none; color: var(--muted); font: 0.75rem/1.5 var(--sans); cursor: pointer; }
button.save:hover, button.save:focus-visible { color: var(--ink); border-color: var(--axis); }
table { width: 100%; border-collapse: collapse; font-size: 0.84rem; line-height: 1.4; }
th, td { padding: 0.32rem 0.4rem; text-align: left; vertical-align: baseline; }
th:first-child { padding-left: 0; }
td:last-child, th:last-child { padding-right: 0; }
thead th { vertical-align: bottom; border-bottom: 1px solid var(--axis); font-weight: 600; }
thead th[title] { cursor: help; }
thead th.sorts { cursor: pointer; }
thead th.sorts:hover, thead th.sorts:focus-visible { background: var(--shade); }
thead th[aria-sort=ascending] .title::after { content: ' ▲'; font-size: 0.75em; }
thead th[aria-sort=descending] .title::after { content: ' ▼'; font-size: 0.75em; }
tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 8.5rem; }
tbody tr:not(.group) th { padding-left: 1.4em; text-indent: -1.4em; }
tbody th span.marker { text-indent: 0; }
tbody tr { border-bottom: 1px solid var(--grid); background: var(--paper); }
tbody th[scope="row"] { position: sticky; left: 0; background: inherit; }
tbody tr:hover { background: var(--shade); }
tr.group th { padding-top: 1.1rem; font-weight: 600; }
th.number { width: 6.8%; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
tfoot td { padding-left: 0; color: var(--muted); }
tfoot p { margin: 0.3rem 0 0; }
sup { font-size: 0.75em; line-height: 0; }
tr.mean td { border-top: 1px solid var(--axis); font-weight: 600; }
table.firing { width: auto; }
table.firing th.number { width: auto; }
.interval { display: block; color: var(--muted); font-size: 0.8em; word-spacing: -0.15em; }
.unit { display: block; min-height: 1.4em; white-space: nowrap; color: var(--muted); font-weight: 400; }
.better { color: var(--muted); font-weight: 400; white-space: nowrap; }
table.settings { width: auto; }
dl { display: grid; grid-template-columns: 11rem 1fr; gap: 0.7rem 1rem; max-width: none; font-size: 0.92rem; }
dt { font-weight: 600; }
dd { margin: 0; max-width: 44rem; }
.equation { display: block; font-family: "STIX Two Text", "Cambria Math", Cambria, Georgia, serif; font-size: 1.05em; }
code { font: 0.92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.made { display: block; margin-top: 0.3rem; font-size: 0.92em; }
.made a { color: inherit; }
.firing-sentences { margin: 0.8rem 0; padding-left: 1.1rem; max-width: 44rem; font-size: 0.92rem; }
details { border-bottom: 1px solid var(--grid); }
summary { padding: 0.4rem 0; cursor: pointer; font-size: 0.9rem; overflow-wrap: anywhere; }
.path { margin: 0.2rem 0; color: var(--muted); font-size: 0.84rem; overflow-wrap: anywhere; }
pre { margin: 0.3rem 0 1rem; padding: 0.8rem 1rem; overflow-x: auto; background: var(--shade); font: 0.78rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 4rem; padding-top: 0.9rem; border-top: 1px solid var(--rule); color: var(--muted); font-size: 0.84rem; }
@media (max-width: 700px) {
  body { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.5rem; }
  dl { display: block; }
  dd { margin-bottom: 0.8rem; }
}
@media print {
  body { padding: 0; font-size: 10pt; }
  @page { margin: 14mm; }
  button.save { display: none; }
  main { max-width: none; }
  svg.plot { min-width: 0 !important; max-height: 76vh; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  figure:not(.table), tr, dt, dd { break-inside: avoid; }
  tr.group { break-after: avoid; }
  h2, .table figcaption { break-after: avoid; }
}
`;

/**
 * The page's style sheet. Dark mode follows the reader's preference, on screen only, and is disabled by
 * data-theme="light", which the script sets while saving a figure. Hovering over an SAE fades the others in every
 * figure.
 *
 * @param saes number of SAEs on the page
 */
export function styleSheet(saes: number): string {
  const highlights = Array.from(
    { length: saes },
    (_, i) => `main:has([data-sae="${i}"]:hover) svg.plot [data-sae]:not([data-sae="${i}"]) { opacity: 0.18; }`,
  );
  return `${paletteStyle()}${FIGURE_STYLE}${PAGE_STYLE}${saes > 1 ? `@media (hover: hover) {\n${highlights.join('\n')}\n}\n` : ''}`;
}
