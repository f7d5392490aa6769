/** Names for the colours of a ramp (viridis, its yellow end darkened to be seen on white). */
function tones(colours: readonly string[]): Record<string, string> {
  return Object.fromEntries(colours.map((colour, i) => [`tone-${i}`, colour]));
}

/**
 * Colours, light and dark. The families' are those of Okabe and Ito, which stay apart for colour-blind readers; on dark
 * ground they are lighter.
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

/** A palette as declarations of variables. */
function declared(palette: Readonly<Record<string, string>>): string {
  return Object.entries(palette)
    .map(([name, value]) => `--${name}: ${value};`)
    .join(' ');
}

/** The reader's own sans-serif face: the page brings none. */
const SANS = 'system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif';

/** How figures take the page's type and colours; all else of them is in their attributes. */
const FIGURES = `
svg.plot { display: block; width: 100%; height: auto; overflow: visible; color: var(--ink); font-family: var(--sans); font-size: 11px; }
svg.plot text { white-space: pre; }
span.marker { display: inline-block; width: 0.95em; margin-right: 0.45em; vertical-align: -0.12em; line-height: 0; }
span.marker svg { width: 100%; height: auto; }
svg .hit { pointer-events: stroke; }
`;

/** The page around the figures. */
const PAGE = `
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
 * The page's style sheet. Dark is the reader's preference, on screen only, and gives way to data-theme="light", which
 * the script sets while it saves a figure. An SAE under the pointer fades the others in every figure.
 *
 * @param saes number of SAEs on the page
 */
export function styleSheet(saes: number): string {
  const highlights = Array.from(
    { length: saes },
    (_, i) => `main:has([data-sae="${i}"]:hover) svg.plot [data-sae]:not([data-sae="${i}"]) { opacity: 0.18; }`,
  );
  return `:root { color-scheme: light dark; --sans: ${SANS}; ${declared(LIGHT)} }
@media screen and (prefers-color-scheme: dark) { :root:not([data-theme="light"]) { ${declared(DARK)} } }
${FIGURES}${PAGE}${saes > 1 ? `@media (hover: hover) {\n${highlights.join('\n')}\n}\n` : ''}`;
}
