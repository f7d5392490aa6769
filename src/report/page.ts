import { Markup, markup, type Part } from './markup.js';
import { SCRIPT } from './script.js';
import { scriptHash } from './script-hash.js';
import { styleSheet } from './style.js';

/** A figure and its caption. The number is the figure's on the page, and its SVG's id is figure-NUMBER. */
export function figure(number: number, svg: Markup, caption: Part, made: Part = null): Markup {
  const region = `Figure ${number}`;
  return markup`<figure>
<div class="scroll" tabindex="0" role="region" aria-label="${region}">${svg}</div>
<figcaption><b>Figure ${number}.</b> ${caption}<button class="save" type="button" hidden data-figure="figure-${number}" title="Save figure ${number} as an SVG file">SVG</button>${made}</figcaption>
</figure>
`;
}

/** The place of a figure for which there are no data. */
export function absentFigure(number: number, reason: string): Markup {
  return markup`<figure><p class="absent"><b>Figure ${number}.</b> ${reason}</p></figure>
`;
}

/** A table and its caption, which stands above it. */
export function captionedTable(number: number, table: Markup, caption: Part, made: Part = null): Markup {
  return markup`<figure class="table">
<figcaption id="table-${number}"><b>Table ${number}.</b> ${caption}${made}</figcaption>
<div class="scroll" tabindex="0" role="region" aria-labelledby="table-${number}">${table}</div>
</figure>
`;
}

/**
 * The whole HTML document, which needs nothing but itself.
 *
 * @param saes number of SAEs on the page
 */
export function page({ title, saes, body }: Readonly<{ title: string; saes: number; body: Part }>): string {
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src ${new Markup(scriptHash(SCRIPT))}">
<title>${title}</title>
<style>
${new Markup(styleSheet(saes))}</style>
</head>
<body>
<main>
${body}
</main>
<script>${new Markup(SCRIPT)}</script>
</body>
</html>
`.text;
}
