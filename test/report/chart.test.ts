import assert from 'node:assert/strict';
import { test } from 'node:test';
import { line, text } from '@observablehq/plot';
import { attributed, drawn, fitted, textWidth } from '../../src/report/chart.js';
import { familySymbols, inlineMarker, key, STYLES, styleColour } from '../../src/report/family-styles.js';
import { elements } from './sample.js';

const BOX = { x: 5, y: 7, width: 200, height: 100 };
const points = [
  { x: 0, y: 0, name: 'a' },
  { x: 1, y: 2 / 3, name: 'b' },
];

test('a plot is at its place, with short coordinates and no style element', () => {
  const svg = drawn('f', BOX, { marks: [line(points, { x: 'x', y: 'y', clip: true })] });
  assert.match(svg.text, /^<svg [^>]*overflow="visible"/);
  assert.ok(/ x="5"/.test(svg.text) && / y="7"/.test(svg.text) && svg.text.includes('viewBox="0 0 200 100"'));
  assert.doesNotMatch(svg.text, /<style|class=|font-family|\d\.\d{3}/);
});

test('equal plots are equal, clip paths included, and two of a page share no id', () => {
  const draw = (id: string) => drawn(id, BOX, { marks: [line(points, { x: 'x', y: 'y', clip: true })] }).text;
  assert.equal(draw('f'), draw('f'));
  assert.match(draw('f'), /<clipPath id="f-clip-0"/);
  assert.match(draw('g'), /clip-path="url\(#g-clip-0\)"/);
});

test('text is escaped, and what XML forbids is replaced', () => {
  const attack = '</text><script>"&\u0000';
  const svg = drawn('f', BOX, {
    marks: [text([{ x: 0, y: 0 }], { x: 'x', y: 'y', text: () => attack, title: () => attack })],
  }).text;
  assert.ok(
    svg.includes('&lt;/text&gt;&lt;script&gt;"&amp;\uFFFD') ||
      svg.includes('&lt;/text&gt;&lt;script&gt;&quot;&amp;\uFFFD'),
  );
  assert.doesNotMatch(svg, /<script/);
});

test('elements carry what they are drawn from, lines that of their first point', () => {
  const of = (mark: string) =>
    attributed(points, ({ name }) => ({ 'data-name': name, 'data-mark': mark, 'data-none': null }));
  const svg = drawn('f', BOX, {
    marks: [
      line(points, { x: 'x', y: 'y', ...of('line') }),
      text(points, { x: 'x', y: 'y', text: 'name', ...of('text') }),
    ],
  });
  const names = (mark: string) =>
    elements(svg, `[data-mark="${mark}"]`).map((element) => element.getAttribute('data-name'));
  assert.deepEqual(names('line'), ['a']);
  assert.deepEqual(names('text'), ['a', 'b']);
  assert.doesNotMatch(svg.text, /data-none/);
});

test('each style has a distinct pair of symbol and colour, and the first ones differ in both; a reference is hollow', () => {
  const markers = Array.from({ length: STYLES }, (_, style) => inlineMarker(style).text);
  assert.ok(STYLES >= 14);
  assert.equal(new Set(markers).size, STYLES);
  const symbols = markers.slice(0, 6).map((svg) => svg.replace(/var\(--style-\d\)/g, ''));
  assert.equal(new Set(symbols).size, 6);
  assert.equal(new Set(Array.from({ length: 6 }, (_, style) => styleColour(style))).size, 6);
  const svg = drawn('f', BOX, {
    marks: familySymbols([
      { x: 0, y: 0, style: 1, index: 4 },
      { x: 1, y: 1, style: 1, faint: true },
    ]),
  });
  assert.equal(elements(svg, '[fill="var(--style-1)"][data-mark="point"][data-sae="4"]').length, 1);
  assert.equal(elements(svg, '[fill="var(--paper)"] [data-mark="reference"]').length, 1);
});

test('a key continues in the next row when its width is full', () => {
  const item = (label: string) => ({ label, style: 0, sign: 'both' as const });
  assert.equal(key('k', [item('a'), item('b')], 400).height, 20);
  assert.equal(key('k', [item('a label of some length'), item('another label of some length')], 250).height, 40);
  assert.equal(key('k', [], 400).height, 0);
  assert.equal(elements(key('k', [item('a'), item('b')], 400).svg, 'text').length, 2);
});

test('text is cut in the middle to the available width', () => {
  assert.equal(fitted('short', 12, 200), 'short');
  const cut = fitted('blocks.20.hook_resid_post/standard-11', 12, 120);
  assert.match(cut, /^bl.*….*andard-11$/);
  assert.ok(textWidth(cut, 12) <= 120 && textWidth(cut, 12) > 100);
});
