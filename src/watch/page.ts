import { Markup, markup } from '../report/markup.js';
import { scriptHash } from '../report/script-hash.js';
import { styleSheet } from '../report/style.js';
import { MOST_DRAWN } from './fragment.js';
import type { View } from './live-view.js';

/** Where the part of the page that changes is fetched from. */
export const FRAGMENT_PATH = '/runs';

/**
 * Fetches the changing part every few seconds, less often while nobody looks, and says when no answer comes. An answer
 * that is the same as the one before is empty (304).
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
      places().forEach((place, i) => { place.scrollLeft = scrolled[i] ?? 0; });
    }
    answered = new Date();
    gone.hidden = true;
  } catch {
    gone.textContent = 'No answer from sae-pipe watch: the page stands as it was at ' + answered.toLocaleTimeString() + '.';
    gone.hidden = false;
  }
  setTimeout(refresh, document.hidden ? 15000 : 2000);
}
setTimeout(refresh, 2000);
`;

const STYLE = `
#gone { position: sticky; top: 0; z-index: 1; margin: 0 0 1rem; padding: 0.6rem 1rem; max-width: none; background: var(--shade); border-left: 3px solid var(--style-1); }
table.runs { margin: 1.6rem 0 0; }
table.runs tbody th { min-width: 12.5rem; }
table.runs :is(th, td):not(:first-child) { padding-left: 0.4rem; }
table.runs :is(th, td):not(:last-child) { padding-right: 0.4rem; }
.kind { display: block; text-indent: 0; color: var(--muted); font-size: 0.78rem; }
.state { white-space: nowrap; }
.state.stalled { color: var(--style-1); }
.state.finished { color: var(--muted); }
progress { display: block; width: 100%; height: 4px; margin-top: 0.25rem; border: 0; border-radius: 2px; overflow: hidden; appearance: none; background: var(--grid); }
progress::-webkit-progress-bar { background: var(--grid); }
progress::-webkit-progress-value { background: var(--axis); }
progress::-moz-progress-bar { background: var(--axis); }
`;

/** What a browser may do with the page: run this script, ask this server, and nothing else. */
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

/** The whole document, which needs nothing but the server it came from. */
export function watchPage(title: string, { html, tag }: View): string {
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
<div id="live" data-tag="${tag}">${new Markup(html)}</div>
</main>
<script>${new Markup(SCRIPT)}</script>
</body>
</html>
`.text;
}
