import { type Markup, markup } from './markup.js';
import { captionedTable, figure, page } from './page.js';
import { LIGHT } from './style.js';

/** A figure that is a file of its own. */
export interface FigureFile {
  title: string;
  svg: Markup;
  caption: string;
  /** What is said below the caption. */
  sentences?: readonly string[];
  table?: { markup: Markup; caption: string } | null;
  /** The command that draws it. */
  command: string;
}

/** White around the figure (pixels). */
const EDGE = 12;

/**
 * The figure as an SVG file: in the light palette on white, with every colour written out, since editors and typesetters
 * know no variables.
 */
export function svgFile({ svg }: FigureFile): string {
  const [, width = 0, height = 0] = (/viewBox="0 0 (\S+) (\S+)"/.exec(svg.text) ?? []).map(Number);
  const [w, h] = [width + 2 * EDGE, height + 2 * EDGE];
  const ground = `<rect x="${-EDGE}" y="${-EDGE}" width="${w}" height="${h}" fill="${LIGHT.paper}"/>`;
  const type = `color="${LIGHT.ink}" fill="${LIGHT.ink}" font-family="Helvetica, Arial, sans-serif" font-size="11"`;
  return `${svg.text
    .replace(/<svg class="plot"/, `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" ${type}`)
    .replace(/viewBox="[^"]*" style="[^"]*"/, `viewBox="${-EDGE} ${-EDGE} ${w} ${h}"`)
    .replace('</desc>', `</desc>\n${ground}`)
    .replaceAll(/var\(--([\w-]+)\)/g, (_, name: string) => LIGHT[name] ?? 'none')}\n`;
}

/** The figure as a page, with its caption and numbers. */
export function figurePage(file: FigureFile, generator: string): string {
  const { title, svg, caption, sentences = [], table, command } = file;
  const made = markup` <span class="made">Drawn by <code>${command}</code></span>`;
  const list =
    sentences.length === 0
      ? null
      : markup`<ul class="firing-sentences">
${sentences.map((sentence) => markup`<li>${sentence}</li>\n`)}</ul>
`;
  return page({
    title,
    saes: 0,
    body: markup`<header><h1>${title}</h1></header>
${figure(1, svg, caption, made)}
${table ? captionedTable(1, table.markup, table.caption, made) : null}${list}
<footer>${generator}</footer>`,
  });
}
