import { Markup, markup, scriptHash, styleSheet } from '../report/page.js';
import { MOST_DRAWN, type PageView } from './live-view.js';

/** URL of the part of the page that changes. */
export const FRAGMENT_PATH = '/runs';

/**
 * The reader's view of the runs: sorted by the selected column, without those whose symbol was clicked or that do not
 * match the filter. It survives updates from the server, and a reload of the tab.
 */
const VIEW_SCRIPT = `
const view = Object.assign({ column: null, direction: 1, hidden: [], filter: '' }, JSON.parse(sessionStorage.getItem('view') ?? '{}'));
const filter = document.getElementById('filter');
const hiding = document.getElementById('hiding');
filter.value = view.filter;
function valueOf(row) {
  const cell = row.cells[view.column];
  if (!('value' in cell.dataset)) return cell.textContent;
  return cell.dataset.value === '' ? null : Number(cell.dataset.value);
}
function compare(a, b) {
  const [x, y] = [valueOf(a), valueOf(b)];
  if (x === null || y === null) return (x === null) - (y === null);
  return view.direction * (typeof x === 'number' ? x - y : x < y ? -1 : x > y ? 1 : 0);
}
function apply() {
  const table = live.querySelector('table.runs');
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    head.tabIndex = 0;
    head.classList.add('sorts');
    if (i === view.column) head.ariaSort = view.direction === 1 ? 'ascending' : 'descending';
  });
  if (view.column !== null) body.append(...rows.sort(compare));
  for (const row of rows) {
    const lacks = !row.textContent.toLowerCase().includes(view.filter.toLowerCase());
    const gone = lacks || view.hidden.includes(row.cells[0].title);
    row.hidden = lacks;
    row.classList.toggle('off', gone);
    for (const mark of live.querySelectorAll('svg.plot [data-sae="' + row.dataset.sae + '"]')) mark.style.display = gone ? 'none' : '';
    const symbol = row.querySelector('th svg');
    symbol.setAttribute('role', 'button');
    symbol.setAttribute('tabindex', '0');
    symbol.setAttribute('aria-label', gone ? 'Show the curves of this run' : 'Hide the curves of this run');
  }
  hiding.hidden = rows.length < 2;
  sessionStorage.setItem('view', JSON.stringify(view));
}
function chosen(target) {
  const head = target.closest('table.runs thead th');
  if (head) {
    view.direction = view.column === head.cellIndex ? -view.direction : 1;
    view.column = head.cellIndex;
  }
  const symbol = target.closest('table.runs tbody th svg');
  if (symbol) {
    const run = symbol.closest('th').title;
    view.hidden = view.hidden.includes(run) ? view.hidden.filter((one) => one !== run) : [...view.hidden, run];
  }
  if (head || symbol) apply();
  return Boolean(head || symbol);
}
live.addEventListener('click', ({ target }) => chosen(target));
live.addEventListener('keydown', (event) => {
  if ((event.key === 'Enter' || event.key === ' ') && chosen(event.target)) event.preventDefault();
});
filter.addEventListener('input', () => { view.filter = filter.value; apply(); });
document.getElementById('all').addEventListener('click', () => { view.hidden = []; view.filter = filter.value = ''; apply(); });
apply();
`;

/**
 * Fetches the changing part every few seconds, less often while the tab is hidden, and reports a missing response. An
 * unchanged response is empty (304).
 */
const SCRIPT = `
const live = document.getElementById('live');
const gone = document.getElementById('gone');
let tag = live.dataset.tag;
let answered = new Date();
async function refresh() {
  try {
    const headers = { 'If-None-Match': tag };
    const reply = await fetch('${FRAGMENT_PATH}', { headers, cache: 'no-store', signal: AbortSignal.timeout(20000) });
    if (reply.status !== 200 && reply.status !== 304) throw new Error(reply.statusText);
    if (reply.status === 200) {
      const html = await reply.text();
      tag = reply.headers.get('ETag');
      const places = () => [...live.querySelectorAll('.scroll')];
      const scrolled = places().map((place) => place.scrollLeft);
      live.innerHTML = html;
      apply();
      places().forEach((place, i) => { place.scrollLeft = scrolled[i] ?? 0; });
    }
    answered = new Date();
    gone.hidden = true;
  } catch {
    gone.textContent = 'No response from sae-pipe watch: the page shows the state of ' + answered.toLocaleTimeString() + '.';
    gone.hidden = false;
  }
  setTimeout(refresh, document.hidden ? 15000 : 2000);
}
setTimeout(refresh, 2000);
${VIEW_SCRIPT}`;

const STYLE = `
#gone { position: sticky; top: 0; z-index: 1; margin: 0 0 1rem; padding: 0.6rem 1rem; max-width: none; background: var(--shade); border-left: 3px solid var(--style-1); }
#hiding { margin: 0.8rem 0 0; color: var(--muted); font-size: 0.84rem; max-width: none; }
#hiding :is(input, button) { padding: 0.2rem 0.5rem; border: 1px solid var(--rule); border-radius: 3px; background: none; color: var(--ink); font: inherit; }
#live > .summary { margin-top: 0.8rem; }
table.runs tbody th svg { cursor: pointer; }
table.runs tr.off { opacity: 0.45; }
table.runs { margin: 1.6rem 0 0; }
table.runs tbody th { min-width: 12.5rem; }
table.runs :is(th, td):not(:first-child) { padding-left: 0.4rem; }
table.runs :is(th, td):not(:last-child) { padding-right: 0.4rem; }
.kind { display: block; text-indent: 0; color: var(--muted); font-size: 0.78rem; }
.state { white-space: nowrap; }
.state:is(.stalled, .stopped) { color: var(--style-1); }
.state.finished { color: var(--muted); }
progress { display: block; width: 100%; height: 4px; margin-top: 0.25rem; border: 0; border-radius: 2px; overflow: hidden; appearance: none; background: var(--grid); }
progress::-webkit-progress-bar { background: var(--grid); }
progress::-webkit-progress-value { background: var(--axis); }
progress::-moz-progress-bar { background: var(--axis); }
`;

/** What a browser may do with the page: run this script, query this server, and nothing else. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  `script-src ${scriptHash(SCRIPT)}`,
  "style-src 'unsafe-inline'",
  'img-src data:',
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The complete document, which needs nothing but its server. */
export function watchPage(title: string, { html, tag }: PageView): string {
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>
${new Markup(styleSheet(MOST_DRAWN))}${new Markup(STYLE)}</style>
</head>
<body>
<main>
<p id="gone" role="alert" hidden></p>
<h1>${title}</h1>
<noscript><p>Without scripts this page does not follow its runs; reload it.</p></noscript>
<p id="hiding" hidden><input id="filter" type="search" placeholder="Filter runs" aria-label="Show only runs with this text"> <button id="all" type="button">Show all</button> <span>Click a column to sort, a run’s symbol to hide its curves.</span></p>
<div id="live" data-tag="${tag}">${new Markup(html)}</div>
</main>
<script>${new Markup(SCRIPT)}</script>
</body>
</html>
`.text;
}
