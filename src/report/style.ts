/**
 * Colours, light and dark. The architectures' are those of Okabe and Ito, which stay apart for colour-blind readers;
 * on dark ground they are lighter.
 */
const LIGHT = `--ink: #1c1d1f; --muted: #5a5f66; --axis: #8d939b; --grid: #e7e9ec; --rule: #d5d8dc; --paper: #ffffff; --shade: #f5f6f7;
  --style-0: #0072b2; --style-1: #d55e00; --style-2: #009e73; --style-3: #cc79a7; --style-4: #b07d00; --style-5: #56b4e9;`;
const DARK = `--ink: #e4e5e7; --muted: #a2a8b0; --axis: #767d86; --grid: #2a2e33; --rule: #3a3f46; --paper: #15171a; --shade: #1d2024;
  --style-0: #56aee0; --style-1: #f08a4b; --style-2: #35c29b; --style-3: #e29cc4; --style-4: #e6b84c; --style-5: #9ad4f5;`;

/** Lines, markers and type of the figures. */
const FIGURES = `
svg.plot { display: block; width: 100%; height: auto; overflow: visible; font-size: 11px; }
svg.inline { width: 0.95em; height: 0.95em; margin-right: 0.45em; vertical-align: -0.1em; overflow: visible; }
svg text { font-family: var(--sans); fill: var(--ink); }
svg .tick, svg .note { fill: var(--muted); }
svg .number, svg .tick { font-variant-numeric: tabular-nums; }
svg .number, svg .name { font-size: 12px; }
svg .axis-title { font-size: 12px; }
svg .panel-title { font-size: 12px; font-weight: 600; }
svg .panel-title.small { font-size: 10px; }
svg .family { font-weight: 600; }
svg .point-label, svg .family { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .axis { stroke: var(--axis); stroke-width: 1; fill: none; }
svg .grid { stroke: var(--grid); stroke-width: 1; fill: none; }
svg .leader { stroke: var(--axis); stroke-width: 0.7; fill: none; }
svg .line { stroke-width: var(--hit-width, 1.6); stroke-linejoin: round; stroke-linecap: round; fill: none; }
/* Browsers differ on whether rules reach what <use> copies: said for both. */
svg .hit { --hit-width: 12; --hit-stroke: transparent; stroke: transparent; stroke-width: 12; fill: none; pointer-events: stroke; }
svg .mark { stroke: var(--paper); stroke-width: 1; }
svg .recovered { stroke-width: 2; stroke-opacity: 0.45; fill: none; }
svg .end-mark { stroke: var(--ink); stroke-width: 1.5; fill: none; }
svg .bar { shape-rendering: crispEdges; }
${[0, 1, 2, 3, 4, 5]
  .map(
    (i) =>
      `svg .line.style-${i}, svg .recovered.style-${i} { stroke: var(--hit-stroke, var(--style-${i})); } svg .mark.style-${i}, svg .bar.style-${i}, svg .family.style-${i} { fill: var(--style-${i}); }`,
  )
  .join('\n')}
`;

/** The page around the figures. */
const PAGE = `
* { box-sizing: border-box; }
body { margin: 0; padding: 3rem 1.5rem 5rem; background: var(--paper); color: var(--ink); font: 16px/1.55 var(--sans); }
main { max-width: 960px; margin: 0 auto; }
h1 { margin: 0 0 0.4rem; font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.01em; text-wrap: balance; }
h2 { margin: 3.2rem 0 1rem; padding-top: 0.9rem; border-top: 1px solid var(--rule); font-size: 1.2rem; }
p, dl, figcaption { max-width: 44rem; }
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
th, td { padding: 0.32rem 0.55rem; text-align: left; vertical-align: baseline; }
th:first-child { padding-left: 0; }
td:last-child, th:last-child { padding-right: 0; }
thead th { vertical-align: bottom; border-bottom: 1px solid var(--axis); font-weight: 600; }
thead th[title] { cursor: help; }
tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 9rem; }
tbody tr:not(.group) th { padding-left: 1.4em; text-indent: -1.4em; }
tbody th svg.inline { text-indent: 0; }
tbody tr { border-bottom: 1px solid var(--grid); background: var(--paper); }
tbody th[scope="row"] { position: sticky; left: 0; background: inherit; }
tbody tr:hover { background: var(--shade); }
tr.group th { padding-top: 1.1rem; font-weight: 600; }
th.number { width: 6.8%; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
.unit { display: block; min-height: 1.4em; white-space: nowrap; color: var(--muted); font-weight: 400; }
.better { color: var(--muted); font-weight: 400; white-space: nowrap; }
table.settings { width: auto; }
dl { display: grid; grid-template-columns: 11rem 1fr; gap: 0.7rem 1rem; max-width: none; font-size: 0.92rem; }
dt { font-weight: 600; }
dd { margin: 0; max-width: 44rem; }
.equation { display: block; font-family: "STIX Two Text", "Cambria Math", Cambria, Georgia, serif; font-size: 1.05em; }
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
  button.save { display: none; }
  svg.plot { min-width: 0 !important; }
  #figure-1 { max-width: 14cm !important; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  figure, tr, dt, dd { break-inside: avoid; }
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
  return `:root { color-scheme: light dark; --sans: system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; ${LIGHT} }
@media screen and (prefers-color-scheme: dark) { :root:not([data-theme="light"]) { ${DARK} } }
${FIGURES}${PAGE}${saes > 1 ? `@media (hover: hover) {\n${highlights.join('\n')}\n}\n` : ''}`;
}
