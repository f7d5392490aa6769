/** An element of a simplified SVG, as far as it is read here. */
export interface Element {
  localName: string;
  children: Iterable<Element>;
  getAttribute(name: string): string | null;
  querySelectorAll(selector: string): Iterable<Element>;
}

/** Opacities that are set together. */
export interface State {
  fill: number;
  stroke: number;
}

const CAPS: Readonly<Record<string, number>> = { butt: 0, round: 1, square: 2 };
const JOINS: Readonly<Record<string, number>> = { miter: 0, round: 1, bevel: 2 };

const NUMBER = /-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?/gi;
const numbers = (text: string) => [...text.matchAll(NUMBER)].map(([number]) => Number(number));
/** PDF knows no exponents. */
const written = (value: number) => String(Number(value.toFixed(4)));
const list = (values: readonly number[]) => values.map(written).join(' ');

/** A path's outline. Its commands are M, L, C, Q and Z, with absolute coordinates. */
function outline(d: string): string {
  let [x, y] = [0, 0];
  const steps = [...d.matchAll(/([a-z])([^a-z]*(?:e[-+]?\d[^a-z]*)*)/gi)].map(([, command, text]) => {
    const at = numbers(text!);
    switch (command) {
      case 'M':
      case 'L':
        [x, y] = at as [number, number];
        return `${list(at)} ${command === 'M' ? 'm' : 'l'}`;
      case 'C':
        [x, y] = at.slice(4) as [number, number];
        return `${list(at)} c`;
      case 'Q': {
        // The cubic curve that is the same.
        const [cx, cy, toX, toY] = at as [number, number, number, number];
        const from = [x + (2 / 3) * (cx - x), y + (2 / 3) * (cy - y)];
        const to = [toX + (2 / 3) * (cx - toX), toY + (2 / 3) * (cy - toY)];
        [x, y] = [toX, toY];
        return `${list([...from, ...to, toX, toY])} c`;
      }
      case 'Z':
        return 'h';
      default:
        throw new Error(`a path has the command ${command}`);
    }
  });
  return steps.join('\n');
}

function colour(text: string): string {
  const found = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(text);
  if (found === null) throw new Error(`a colour is ${text}`);
  return list(found.slice(1).map((digits) => Number.parseInt(digits, 16) / 255));
}

function matrix(element: Element): string[] {
  const transform = element.getAttribute('transform');
  if (transform === null) return [];
  if (!transform.startsWith('matrix(')) throw new Error(`a transformation is ${transform}`);
  return [`${list(numbers(transform))} cm`];
}

/** Writes a simplified SVG as the operators of a PDF's page. */
class Writer {
  readonly states: State[] = [];
  readonly lines: string[] = [];

  constructor(private readonly clips: ReadonlyMap<string, Element>) {}

  private state(fill: number, stroke: number): string {
    const found = this.states.findIndex((state) => state.fill === fill && state.stroke === stroke);
    if (found >= 0) return `/G${found} gs`;
    this.states.push({ fill, stroke });
    return `/G${this.states.length - 1} gs`;
  }

  private clip(element: Element): void {
    const name = /^url\(#(.+)\)$/.exec(element.getAttribute('clip-path') ?? '')?.[1];
    if (name === undefined) return;
    const clip = this.clips.get(name) ?? raise(`no clip path is called ${name}`);
    const paths = [...clip.querySelectorAll('path')];
    if (matrix(clip).length > 0 || paths.some((path) => matrix(path).length > 0))
      throw new Error('a clip path is transformed');
    const rule = paths.some((path) => path.getAttribute('clip-rule') === 'evenodd') ? 'W*' : 'W';
    this.lines.push(...paths.map((path) => outline(path.getAttribute('d')!)), `${rule} n`);
  }

  /** @param opacity of the groups around it; their parts hardly overlap, so that each part may have it by itself */
  element(element: Element, opacity: number): void {
    switch (element.localName.toLowerCase()) {
      case 'defs':
        return;
      case 'g': {
        for (const name of ['mask', 'filter'])
          if (element.getAttribute(name) !== null) throw new Error(`a group has a ${name}`);
        this.lines.push('q', ...matrix(element));
        this.clip(element);
        for (const child of element.children)
          this.element(child, opacity * Number(element.getAttribute('opacity') ?? 1));
        this.lines.push('Q');
        return;
      }
      case 'path':
        this.path(element, opacity);
        return;
      default:
        throw new Error(`a figure has an element ${element.localName}`);
    }
  }

  private path(path: Element, opacity: number): void {
    const of = (name: string, usual: string) => path.getAttribute(name) ?? usual;
    const [fill, stroke] = [of('fill', '#000000'), of('stroke', 'none')];
    if (of('visibility', 'visible') !== 'visible' || (fill === 'none' && stroke === 'none')) return;
    const opacities = [of('fill-opacity', '1'), of('stroke-opacity', '1')].map((text) => Number(text) * opacity);
    this.lines.push('q', ...matrix(path), this.state(opacities[0]!, opacities[1]!));
    if (fill !== 'none') this.lines.push(`${colour(fill)} rg`);
    if (stroke !== 'none') {
      const dashes = of('stroke-dasharray', 'none');
      this.lines.push(
        `${colour(stroke)} RG`,
        `${written(Number(of('stroke-width', '1')))} w`,
        `${CAPS[of('stroke-linecap', 'butt')]} J ${JOINS[of('stroke-linejoin', 'miter')]} j`,
        `${written(Math.max(1, Number(of('stroke-miterlimit', '4'))))} M`,
        ...(dashes === 'none' ? [] : [`[${list(numbers(dashes))}] ${written(Number(of('stroke-dashoffset', '0')))} d`]),
      );
    }
    const star = of('fill-rule', 'nonzero') === 'evenodd' ? '*' : '';
    const paint = fill === 'none' ? 'S' : stroke === 'none' ? `f${star}` : `B${star}`;
    this.lines.push(outline(of('d', '')), paint, 'Q');
  }
}

function raise(message: string): never {
  throw new Error(message);
}

/** The operators that draw a simplified SVG in its own coordinates, and the opacities that they set as /G0, /G1, …. */
export function contentOf(root: Element): { operators: string; states: readonly State[] } {
  const clips = [...root.querySelectorAll('clipPath, clippath')].map(
    (clip) => [clip.getAttribute('id')!, clip] as const,
  );
  const writer = new Writer(new Map(clips));
  for (const child of root.children) writer.element(child, 1);
  return { operators: writer.lines.join('\n'), states: writer.states };
}
