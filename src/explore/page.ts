import { readFileSync } from 'node:fs';
import { Markup, markup, paletteStyle, scriptHash } from '../report/page.js';

/** A file of the pages: its path in the served folder, and its type. */
export interface PageFile {
  readonly path: string;
  readonly type: string;
  readonly body: Buffer;
}

/** What a browser may do with the pages: run their script, send requests to their own origin, and nothing else. */
export const EXPLORE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

/** The same for HTTP responses, with a directive that a document cannot set itself. */
export const EXPLORE_POLICY_HEADER = `${EXPLORE_POLICY}; frame-ancestors 'none'`;

/**
 * The files of every page, live or static; data/ is next to them. All paths in them are relative.
 *
 * @param title the folder's; shown until its index has loaded
 */
export function pageFiles(title: string): readonly PageFile[] {
  const head = markup`<meta http-equiv="Content-Security-Policy" content="${EXPLORE_POLICY}">
<link rel="stylesheet" href="page.css">
<script src="page.js" defer></script>`;
  return [
    { path: 'index.html', type: 'text/html; charset=utf-8', body: Buffer.from(shell(title, head, null)) },
    { path: 'page.css', type: 'text/css; charset=utf-8', body: Buffer.from(style()) },
    { path: 'page.js', type: 'text/javascript; charset=utf-8', body: built('main.js') },
  ];
}

/**
 * A single self-contained page.
 *
 * @param data what a server would return, by path: data/index.json, and a data/SAE/features/N.json for each of its
 * `only`
 */
export function selfContainedPage(title: string, data: Readonly<Record<string, unknown>>): string {
  // "</script" in a string would close the enclosing element; JSON allows < to be escaped.
  const json = JSON.stringify(data).replaceAll('<', '\\u003c');
  const script = `\n${built('main.js').toString().replaceAll('</script', '<\\/script')}`;
  const policy = [
    "default-src 'none'",
    "style-src 'unsafe-inline'",
    `script-src ${scriptHash(script)}`,
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');
  const head = markup`<meta http-equiv="Content-Security-Policy" content="${policy}">
<style>
${new Markup(style())}</style>`;
  const end = markup`<script type="application/json" id="data">${new Markup(json)}</script>
<script>${new Markup(script)}</script>`;
  return shell(title, head, end);
}

function shell(title: string, head: Markup, end: Markup | null): string {
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>${title}</title>
${head}
</head>
<body>
<main><noscript><p>This page needs its script, which comes from where the page came from.</p></noscript></main>
${end}
</body>
</html>
`.text;
}

function style(): string {
  return paletteStyle() + built('page.css').toString();
}

/** A file that `npm run build` generates from client/. */
function built(name: string): Buffer {
  return readFileSync(new URL(`client/${name}`, import.meta.url));
}
