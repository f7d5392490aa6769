import type { FeatureScatter } from '../api.js';
import { el } from './dom.js';
import { activationText, integerText, roundText, shareText } from './format.js';
import { tip } from './tip.js';

const MARGIN = { left: 34, right: 10, top: 10, bottom: 24 };
/** Max distance of a click from a point, and min length of a drag (CSS pixels). */
const NEAR = 14;
const DRAG = 6;

/** Bounds on frequency and maximum. */
export interface ScatterBounds {
  readonly frequency: readonly [number, number];
  readonly max: readonly [number, number];
}

export interface ScatterActions {
  /** A point was clicked. */
  open(feature: number): void;
  /** A rectangle was drawn around points. */
  bound(bounds: ScatterBounds): void;
  announce(text: string): void;
}

interface Scale {
  readonly least: number;
  readonly most: number;
}

/**
 * Features by how often and how strongly they fire, both on log scales. A click opens the nearest feature, a drag
 * filters the list, and arrow keys move between points.
 */
export class ScatterPlot {
  readonly element: HTMLElement;
  private readonly canvas = el('canvas', {});
  private data: FeatureScatter = { feature: [], frequency: [], max: [], of: 0 };
  private bounds: ScatterBounds | null = null;
  private marked: { frequency: number; max: number } | null = null;
  private at = -1;
  /** The element's size when drawn: queried once, not for each of thousands of points. */
  private size = { width: 0, height: 0 };
  private from: { x: number; y: number } | null = null;
  private to: { x: number; y: number } | null = null;
  private x: Scale = { least: 1e-6, most: 1 };
  private y: Scale = { least: 0.1, most: 10 };

  constructor(private readonly actions: ScatterActions) {
    const label = 'Features by frequency and maximum. Arrow keys walk between points, Enter opens one.';
    this.element = el('div', { class: 'scatter', tabindex: 0, role: 'application', 'aria-label': label }, this.canvas);
    new ResizeObserver(() => this.draw()).observe(this.element);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
    this.element.addEventListener('pointermove', (event) => this.moved(event));
    this.element.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      this.from = placeOf(event, this.element);
      this.element.setPointerCapture(event.pointerId);
    });
    this.element.addEventListener('pointerup', (event) => this.released(event));
    this.element.addEventListener('pointercancel', () => this.dropped());
    this.element.addEventListener('pointerleave', () => tip.hide(this.canvas));
    this.element.addEventListener('keydown', (event) => this.pressed(event));
    this.element.addEventListener('blur', () => {
      this.at = -1;
      tip.hide(this.canvas);
      this.draw();
    });
  }

  /** @param common scales shared by several plots side by side */
  show(data: FeatureScatter, bounds: ScatterBounds | null, common: readonly FeatureScatter[] = [data]): void {
    [this.data, this.bounds, this.at] = [data, bounds, -1];
    this.x = scaleOf(common.flatMap(({ frequency }) => frequency));
    this.y = scaleOf(common.flatMap(({ max }) => max));
    this.draw();
  }

  /** Highlights a feature of the list; null: none. */
  mark(row: { frequency: number; max: number } | null): void {
    this.marked = row;
    this.draw();
  }

  private placeAt(frequency: number, max: number): { x: number; y: number } {
    const { width, height } = this.size;
    const along = (value: number, { least, most }: Scale) => Math.log(value / least) / Math.log(most / least);
    return {
      x: MARGIN.left + along(frequency, this.x) * (width - MARGIN.left - MARGIN.right),
      y: height - MARGIN.bottom - along(max, this.y) * (height - MARGIN.top - MARGIN.bottom),
    };
  }

  private valueAt({ x, y }: { x: number; y: number }): { frequency: number; max: number } {
    const { width, height } = this.size;
    const back = (share: number, { least, most }: Scale) => least * (most / least) ** share;
    return {
      frequency: back((x - MARGIN.left) / (width - MARGIN.left - MARGIN.right), this.x),
      max: back((height - MARGIN.bottom - y) / (height - MARGIN.top - MARGIN.bottom), this.y),
    };
  }

  private pointAt(i: number): { x: number; y: number } {
    return this.placeAt(this.data.frequency[i]!, this.data.max[i]!);
  }

  /** The point with the lowest cost, or −1 if every cost is infinite. */
  private best(cost: (place: { x: number; y: number }, i: number) => number): number {
    let [found, least] = [-1, Infinity];
    for (let i = 0; i < this.data.feature.length; i++) {
      const value = cost(this.pointAt(i), i);
      if (value < least) [found, least] = [i, value];
    }
    return found;
  }

  private nearest(to: { x: number; y: number }): number {
    return this.best(({ x, y }) => {
      const distance = Math.hypot(x - to.x, y - to.y);
      return distance <= NEAR ? distance : Infinity;
    });
  }

  private moved(event: PointerEvent): void {
    const place = placeOf(event, this.element);
    if (this.from) {
      this.to = Math.hypot(place.x - this.from.x, place.y - this.from.y) >= DRAG || this.to ? place : null;
      tip.hide(this.canvas);
    } else {
      this.point(this.nearest(place), false);
    }
    this.draw();
  }

  private released(event: PointerEvent): void {
    const [from, to] = [this.from, this.to];
    this.dropped();
    if (!from) return;
    if (to) {
      const [a, b] = [this.valueAt(from), this.valueAt(to)];
      const range = (key: 'frequency' | 'max'): readonly [number, number] => [
        Number(Math.min(a[key], b[key]).toPrecision(3)),
        Number(Math.max(a[key], b[key]).toPrecision(3)),
      ];
      this.actions.bound({ frequency: range('frequency'), max: range('max') });
    } else {
      const i = this.nearest(placeOf(event, this.element));
      if (i !== -1) this.actions.open(this.data.feature[i]!);
    }
  }

  private dropped(): void {
    this.from = this.to = null;
    this.draw();
  }

  private point(i: number, aloud: boolean): void {
    this.at = i;
    this.element.classList.toggle('on-point', i !== -1);
    if (i === -1) {
      tip.hide(this.canvas);
      return;
    }
    const { feature, frequency, max } = this.data;
    const { x, y } = this.pointAt(i);
    const box = this.element.getBoundingClientRect();
    const rows = `${shareText(frequency[i]!)} of tokens, max ${activationText(max[i]!)}`;
    tip.show(this.canvas, `Feature ${feature[i]}`, rows, new DOMRect(box.left + x - 4, box.top + y - 4, 8, 8));
    if (aloud) this.actions.announce(`Feature ${feature[i]}, ${rows}`);
  }

  private pressed(event: KeyboardEvent): void {
    const directions: Record<string, readonly [number, number]> = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    };
    const direction = directions[event.key];
    if (event.key === 'Enter' && this.at !== -1) this.actions.open(this.data.feature[this.at]!);
    else if (event.key === 'Escape') this.point(-1, false);
    else if (!direction || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (this.at === -1) this.point(this.data.feature.length > 0 ? 0 : -1, true);
    else this.point(this.towards(direction), true);
    event.preventDefault();
    event.stopPropagation();
    this.draw();
  }

  /** The next point in a direction; sideways distance counts more. */
  private towards([dx, dy]: readonly [number, number]): number {
    const here = this.pointAt(this.at);
    const next = this.best(({ x, y }, i) => {
      const ahead = (x - here.x) * dx + (y - here.y) * dy;
      const aside = Math.abs((x - here.x) * dy) + Math.abs((y - here.y) * dx);
      return i === this.at || ahead <= 0.5 ? Infinity : ahead + 2.5 * aside;
    });
    return next === -1 ? this.at : next;
  }

  private draw(): void {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (width === 0 || height === 0) return;
    this.size = { width, height };
    const ratio = devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const pen = this.canvas.getContext('2d')!;
    pen.scale(ratio, ratio);
    const style = getComputedStyle(this.element);
    const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
    this.drawAxes(pen, colour, style.fontFamily);
    if (this.bounds) this.drawBounds(pen, this.bounds, colour('accent'));
    pen.fillStyle = colour('point');
    for (let i = 0; i < this.data.feature.length; i++) dot(pen, this.pointAt(i), 1.6);
    pen.fillStyle = colour('emphasis');
    if (this.marked && this.marked.max > 0) dot(pen, this.placeAt(this.marked.frequency, this.marked.max), 4.5);
    if (this.at !== -1) dot(pen, this.pointAt(this.at), 4.5);
    if (this.from && this.to) drawRectangle(pen, this.from, this.to, colour('accent'));
  }

  private drawBounds(pen: CanvasRenderingContext2D, { frequency, max }: ScatterBounds, colour: string): void {
    const within = ([least, most]: readonly [number, number], scale: Scale) =>
      [Math.max(least, scale.least), Math.min(most, scale.most)] as const;
    const [x, y] = [within(frequency, this.x), within(max, this.y)];
    if (x[0] < x[1] && y[0] < y[1]) drawRectangle(pen, this.placeAt(x[0], y[0]), this.placeAt(x[1], y[1]), colour);
  }

  private drawAxes(pen: CanvasRenderingContext2D, colour: (name: string) => string, font: string): void {
    const { width, height } = this.size;
    pen.font = `11px ${font}`;
    pen.lineWidth = 1;
    for (const value of decades(this.x)) {
      const { x } = this.placeAt(value, this.y.least);
      pen.fillStyle = colour('grid');
      pen.fillRect(Math.round(x), MARGIN.top, 1, height - MARGIN.top - MARGIN.bottom);
      pen.fillStyle = colour('muted');
      pen.textAlign = x > width - 24 ? 'right' : 'center';
      pen.fillText(`${roundText(100 * value)}%`, Math.min(x, width - 2), height - 8);
    }
    pen.textAlign = 'right';
    for (const value of decades(this.y, 2)) {
      const { y } = this.placeAt(this.x.least, value);
      pen.fillStyle = colour('grid');
      pen.fillRect(MARGIN.left, Math.round(y), width - MARGIN.left - MARGIN.right, 1);
      pen.fillStyle = colour('muted');
      pen.fillText(roundText(value), MARGIN.left - 6, y + 4);
    }
  }
}

/** Describes the points, including those left out. */
export function scatterSentence({ feature, of }: FeatureScatter): string {
  const all = integerText(of);
  return feature.length === of ? `${all} features that fire.` : `${integerText(feature.length)} of ${all} that fire.`;
}

function dot(pen: CanvasRenderingContext2D, { x, y }: { x: number; y: number }, radius: number): void {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
}

function drawRectangle(
  pen: CanvasRenderingContext2D,
  a: { x: number; y: number },
  b: { x: number; y: number },
  c: string,
) {
  pen.strokeStyle = c;
  pen.strokeRect(Math.min(a.x, b.x) + 0.5, Math.min(a.y, b.y) + 0.5, Math.abs(a.x - b.x), Math.abs(a.y - b.y));
}

function placeOf(event: PointerEvent, element: Element): { x: number; y: number } {
  const { left, top } = element.getBoundingClientRect();
  return { x: event.clientX - left, y: event.clientY - top };
}

/** A logarithmic scale slightly wider than its values. */
function scaleOf(values: readonly number[]): Scale {
  let [least, most] = [Infinity, 0];
  for (const value of values) {
    if (!(value > 0)) continue;
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return most === 0 ? { least: 0.1, most: 10 } : { least: least / 1.3, most: most * 1.3 };
}

/** Round values on a scale: powers of ten, plus their halves and doubles if those are few. */
function decades({ least, most }: Scale, few = 1): number[] {
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(least)); 10 ** power <= most; power++) {
    for (const times of few > 1 && most / least < 200 ? [1, 2, 5] : [1]) found.push(times * 10 ** power);
  }
  return found.filter((value) => value >= least && value <= most);
}
