import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { paretoFigure, pointsOf } from '../../src/report/against-l0.js';
import { svgFile } from '../../src/report/draw-figure.js';
import { entriesOf } from '../../src/report/entries.js';
import { toyPicture } from '../../src/report/jump-relu.js';
import { outlined, pdfOf, pngOf, uncovered } from '../../src/report/png-and-pdf.js';
import { fullSweep } from './sample.js';

const file = svgFile({
  title: 't',
  caption: '',
  command: '',
  svg: paretoFigure(pointsOf(entriesOf(fullSweep()), 'loss_recovered')),
});
const wrapped = (content: string) =>
  `<svg xmlns="http://www.w3.org/2000/svg" width="80" height="30" viewBox="0 0 80 30" font-family="Helvetica, sans-serif" font-size="20">${content}</svg>`;
const glyphs = async (text: string) =>
  /<path[^>]* d="([^"]*)"/.exec(await outlined(wrapped(`<text y="20">${text}</text>`)))?.[1];

/** The operators of the page of a PDF. */
function operators(pdf: Uint8Array): string {
  const bytes = Buffer.from(pdf);
  const [, length] = /\/Length (\d+)/.exec(bytes.toString('latin1'))!;
  const begin = bytes.indexOf('stream\n') + 7;
  return inflateSync(bytes.subarray(begin, begin + Number(length))).toString();
}

test('a PNG has the figure at three pixels per unit, the same bytes each time', async () => {
  const png = Buffer.from(await pngOf(file));
  assert.equal(png.subarray(1, 4).toString(), 'PNG');
  const [, width, height] = /width="(\d+)" height="(\d+)"/.exec(file)!.map(Number);
  assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [3 * width!, 3 * height!]);
  assert.deepEqual(Buffer.from(await pngOf(file)), png);
});

test('every glyph of a figure is drawn: none is empty, none is the missing glyph', async () => {
  const missing = await glyphs('\u4E2D');
  for (const sign of ['λ', '−', '×', 'γ', '↖', '▾', '▴', '◂', '…', '₁', 'x', '→']) {
    const drawn = await glyphs(sign);
    assert.ok(drawn !== undefined && drawn !== missing, sign);
    assert.deepEqual(uncovered(wrapped(`<text>${sign}</text>`)), [], sign);
  }
  assert.deepEqual(uncovered(wrapped('<text>λ\u00A03 <tspan>中中文</tspan></text><title>日</title>')), ['中', '文']);
});

test('a PDF has one page of the figure’s size, its paths, and a correct cross-reference table', async () => {
  const pdf = pdfOf(await outlined(file), 'λ (1)');
  const text = Buffer.from(pdf).toString('latin1');
  const [, width, height] = /width="(\d+)" height="(\d+)"/.exec(file)!.map(Number);
  assert.ok(text.includes(`/MediaBox [0 0 ${width! * 0.75} ${height! * 0.75}]`));
  assert.ok(text.includes('<FEFF03BB0020002800310029>'));
  const at = Number(/startxref\n(\d+)/.exec(text)![1]);
  assert.ok(text.startsWith('xref\n', at));
  for (const [i, [, place]] of [...text.slice(at).matchAll(/^(\d{10}) 00000 n /gm)].entries()) {
    assert.ok(text.startsWith(`${i + 1} 0 obj`, Number(place)));
  }
  const drawn = operators(pdf);
  const count = (operator: string) => drawn.split('\n').filter((line) => line === operator).length;
  assert.equal(count('q'), count('Q'));
  // 30 points, each filled with a line around it.
  assert.ok(count('B') >= 30);
  assert.doesNotMatch(drawn, /NaN|undefined|\de[-+]?\d/);
  const toy = svgFile({ title: '', caption: '', command: '', svg: toyPicture().svg });
  assert.match(operators(pdfOf(await outlined(toy), '')), / c\n/);
});

test('what a PDF cannot show is an error, not a gap', () => {
  const simple = (content: string) => `<svg viewBox="0 0 9 9">${content}</svg>`;
  for (const content of [
    '<image/>',
    '<g filter="url(#a)"/>',
    '<path fill="url(#g)" d="M 0 0 Z"/>',
    '<path fill="#000000" d="M 0 0 A 1 1 0 0 0 1 1"/>',
  ]) {
    assert.throws(() => pdfOf(simple(content), ''), Error, content);
  }
  assert.match(operators(pdfOf(simple('<path fill="#ff0000" d="M 0 0 Q 3 0 3 3 Z"/>'), '')), /2 0 3 1 3 3 c\nh\nf/);
});
