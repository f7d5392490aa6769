import { Markup, markup, type Part } from './markup.js';

/**
 * Saves a figure as a file of its own: a copy of the SVG in which every style is written out as an attribute (editors
 * know few style sheets and no CSS variables), in the light theme. Without a script the buttons stay hidden.
 */
const SAVE_SCRIPT = `
const PROPERTIES = ['fill', 'fill-opacity', 'stroke', 'stroke-width', 'stroke-opacity', 'stroke-linejoin', 'stroke-linecap',
  'font-size', 'font-weight', 'text-anchor'];
function standaloneSvg(svg) {
  const copy = svg.cloneNode(true);
  document.documentElement.dataset.theme = 'light';
  const [live, copied] = [svg, copy].map((root) => root.querySelectorAll('path, polyline, rect, text'));
  live.forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const property of PROPERTIES) {
      // Type has a halo on the page; editors that draw it over the letters would spoil them.
      if (element.tagName === 'text' ? /^stroke/.test(property) : /^(font|text)/.test(property)) continue;
      copied[i].setAttribute(property, style.getPropertyValue(property));
    }
    copied[i].removeAttribute('class');
  });
  delete document.documentElement.dataset.theme;
  copy.querySelectorAll('.hit').forEach((element) => element.remove());
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

/** A figure and its caption. The number is the figure's on the page, and its SVG's id is figure-NUMBER. */
export function figure(number: number, svg: Markup, caption: Part): Markup {
  const region = `Figure ${number}`;
  return markup`<figure>
<div class="scroll" tabindex="0" role="region" aria-label="${region}">${svg}</div>
<figcaption><b>Figure ${number}.</b> ${caption}<button class="save" type="button" hidden data-figure="figure-${number}" title="Save figure ${number} as an SVG file">SVG</button></figcaption>
</figure>
`;
}

/** The place of a figure for which there are no data. */
export function absentFigure(number: number, reason: string): Markup {
  return markup`<figure><p class="absent"><b>Figure ${number}.</b> ${reason}</p></figure>
`;
}

/** A table and its caption, which stands above it. */
export function captionedTable(number: number, table: Markup, caption: Part): Markup {
  return markup`<figure class="table">
<figcaption id="table-${number}"><b>Table ${number}.</b> ${caption}</figcaption>
<div class="scroll" tabindex="0" role="region" aria-labelledby="table-${number}">${table}</div>
</figure>
`;
}

/** The whole HTML document, which needs nothing but itself. */
export function page({ title, style, body }: Readonly<{ title: string; style: string; body: Part }>): string {
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${title}</title>
<style>
${new Markup(style)}</style>
</head>
<body>
<main>
${body}
</main>
<script>${new Markup(SAVE_SCRIPT)}</script>
</body>
</html>
`.text;
}
