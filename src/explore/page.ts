import { readFileSync } from 'node:fs';
import { Markup, markup, paletteStyle, scriptHash } from '../report/page.js';

/** A file of the pages: where it lies in the folder that they are served from, and what it is. */
export interface PageFile {
  readonly path: string;
  readonly type: string;
  readonly body: Buffer;
}

/** What a browser may do with the pages: run their script, ask where they came from, and nothing else. */
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

/** The same for the answers of a server: a document cannot say this of itself. */
export const EXPLORE_POLICY_HEADER = `${EXPLORE_POLICY}; frame-ancestors 'none'`;

/**
 * The files that every page is made of, live or static; data/ lies next to them. All paths in them are relative.
 *
 * @param title of the folder; shown until its index has come
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
 * One page that needs nothing but itself.
 *
 * @param data what a server would answer, by path: data/index.json, and a data/SAE/features/N.json for each of its `only`
 */
export function selfContainedPage(title: string, data: Readonly<Record<string, unknown>>): string {
  // "</script" in a string would end the element that it stands in; in JSON, < may be written otherwise.
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

/** A file that `npm run build` makes of client/. */
function built(name: string): Buffer {
  return readFileSync(new URL(`client/${name}`, import.meta.url));
}
