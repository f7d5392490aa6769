import type { FeaturePage } from '../api.js';
import { el, svgElement } from './dom.js';
import { activationText, integerText, roundText } from './format.js';
import { heatLevel } from './heat.js';
import { tip } from './tip.js';

const WIDTH = 320;
const HEIGHT = 96;
const BASE = 78;
/** Bins per octave. */
const QUARTERS = 4;
/** Labels that fit next to each other. */
const MOST_LABELS = 7;

/**
 * How often the feature has which activation; bars have the colours of the examples, so this doubles as their legend.
 */
export function activationHistogram({ histogram, max }: Pick<FeaturePage, 'histogram' | 'max'>): HTMLElement | null {
  const { first, counts } = histogram;
  if (counts.length === 0) return null;
  const edge = (bin: number) => 2 ** ((first + bin) / QUARTERS);
  const tallest = Math.max(...counts);
  const step = WIDTH / Math.max(counts.length, 8);
  const bars = counts.map((count, bin) => {
    const height = count === 0 ? 0 : Math.max(1, (count / tallest) * (BASE - 8));
    const level = heatLevel(Math.min(max, edge(bin + 1)), max);
    const shape = { x: bin * step + 0.5, width: Math.max(1, step - 1), y: BASE - height, height };
    return svgElement('rect', { ...shape, class: `bar h${level}`, 'data-bin': bin });
  });
  const total = counts.reduce((sum, count) => sum + count, 0);
  const label = `Histogram of ${integerText(total)} activations from ${activationText(edge(0))} to ${activationText(max)}`;
  const drawing = svgElement(
    'svg',
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: 'histogram', role: 'img', 'aria-label': label },
    svgElement('line', { x1: 0, x2: WIDTH, y1: BASE + 0.5, y2: BASE + 0.5, class: 'axis' }),
    bars,
    octaveLabels(first, counts.length, step),
  );
  drawing.addEventListener('pointermove', (event) => {
    const box = drawing.getBoundingClientRect();
    const bin = Math.floor((((event.clientX - box.left) / box.width) * WIDTH) / step);
    const count = counts[bin];
    if (count === undefined) {
      tip.hide();
      return;
    }
    const range = `${activationText(edge(bin))} ≤ f < ${activationText(edge(bin + 1))}`;
    const bar = bars[bin]!.getBoundingClientRect();
    tip.show(drawing, `${integerText(count)} ${count === 1 ? 'token' : 'tokens'}`, range, bar);
  });
  drawing.addEventListener('pointerleave', () => tip.hide());
  return el('div', { class: 'figure' }, drawing);
}

/** Powers of two below the axis, as many as fit. */
function octaveLabels(first: number, bins: number, step: number): SVGElement[] {
  const octaves: number[] = [];
  for (let octave = Math.ceil(first / QUARTERS); octave * QUARTERS - first <= bins; octave++) octaves.push(octave);
  const every = Math.ceil(octaves.length / MOST_LABELS);
  return octaves
    .filter((octave) => octave % every === 0)
    .map((octave) => {
      const x = (octave * QUARTERS - first) * step;
      const anchor = x < 12 ? 'start' : x > WIDTH - 12 ? 'end' : 'middle';
      return svgElement('text', { x, y: HEIGHT - 4, 'text-anchor': anchor }, roundText(2 ** octave));
    });
}
