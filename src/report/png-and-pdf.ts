import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { deflateSync } from 'node:zlib';
import { initWasm, Resvg } from '@resvg/resvg-wasm';
import { parseHTML } from 'linkedom';
import { packagedFile } from '../disk/input-file.js';

/** Scale of the bitmap: about 290 dots per inch at the figure's own size. */
const SCALE = 3;

const FAMILY = 'DejaVu Sans';

/** The characters in the two fonts of assets/fonts. */
const COVERED =
  /[\n\u0020-\u007E\u00A0-\u02AF\u0370-\u0377\u037A-\u037F\u0384-\u038A\u038C\u038E-\u03A1\u03A3-\u04FF\u1E00-\u1EFB\u2000-\u200C\u200E-\u2064\u206A-\u2071\u2074-\u208E\u2090-\u209C\u20A0-\u20B5\u20B8-\u20BA\u20BD\u2100-\u2109\u210B-\u2149\u214B\u214E\u2190-\u22FF\u25A0-\u25FF\u2713-\u2717\uFFFD]|[\u0300-\u034F]/u;

let ready: Promise<Uint8Array[]> | undefined;

/** Compiles resvg once per process and loads the fonts of figures. */
async function loadResvg(): Promise<Uint8Array[]> {
  const font = (name: string) => readFile(packagedFile(`assets/fonts/${name}`));
  const wasm = fileURLToPath(import.meta.resolve('@resvg/resvg-wasm/index_bg.wasm'));
  await initWasm(await readFile(wasm));
  return Promise.all([font('DejaVuSans.ttf'), font('DejaVuSans-Bold.ttf')]);
}

/** A figure parsed by resvg. */
async function opened(svg: string): Promise<InstanceType<typeof Resvg>> {
  ready ??= loadResvg();
  const fontBuffers = await ready;
  const font = { fontBuffers, defaultFontFamily: FAMILY, sansSerifFamily: FAMILY };
  return new Resvg(svg, { font, fitTo: { mode: 'zoom', value: SCALE } });
}

/** The SVG file as a PNG. Fonts come from the package, so that the bytes are the same on every machine. */
export async function pngOf(svg: string): Promise<Uint8Array> {
  const resvg = await opened(svg);
  try {
    return resvg.render().asPng();
  } finally {
    resvg.free();
  }
}

/** The SVG file reduced to groups, clip paths and paths, with absolute coordinates; text becomes outlines. */
export async function outlined(svg: string): Promise<string> {
  const resvg = await opened(svg);
  try {
    return resvg.toString();
  } finally {
    resvg.free();
  }
}

/** Characters in a figure's text that the package's fonts lack. */
export function uncovered(svg: string): string[] {
  const texts = [...svg.matchAll(/<text[^>]*>([\s\S]*?)<\/text>/g)].map(([, text]) => text!.replace(/<[^>]*>/g, ''));
  return [...new Set([...texts.join('')].filter((character) => !COVERED.test(character)))];
}

/** A CSS pixel is 1/96 inch, a PDF unit 1/72. */
const POINTS_PER_PIXEL = 72 / 96;

/** A PDF text string: UTF-16 with byte order mark, in hexadecimal digits. */
const hex = (text: string) => `<${Buffer.from(`\uFEFF${text}`, 'utf16le').swap16().toString('hex').toUpperCase()}>`;

/**
 * A one-page PDF of the figure's size, with its paths as vectors. Equal input gives equal bytes.
 *
 * @param svg simplified by resvg: only groups, clip paths and paths
 * @throws Error if it contains anything else: nothing is silently omitted
 */
export function pdfOf(svg: string, title: string): Uint8Array {
  const { document } = parseHTML(`<html><body>${svg}</body></html>`);
  const root = document.querySelector('svg') as unknown as SvgElement;
  const [left, top, width, height] = root
    .getAttribute('viewBox')!
    .split(/[\s,]+/)
    .map(Number) as [number, number, number, number];
  // PDF's y axis points up from the lower left corner.
  const place = `${POINTS_PER_PIXEL} 0 0 ${-POINTS_PER_PIXEL} ${-left * POINTS_PER_PIXEL} ${(top + height) * POINTS_PER_PIXEL} cm`;
  const { operators, states } = operatorsOf(root);
  const stream = deflateSync(Buffer.from(`${place}\n${operators}`));
  const resources = states.map(({ fill, stroke }, i) => `/G${i} << /ca ${fill} /CA ${stroke} >>`).join(' ');
  const objects: (string | Uint8Array)[][] = [
    ['<< /Type /Catalog /Pages 2 0 R /Lang (en) /ViewerPreferences << /DisplayDocTitle true >> >>'],
    ['<< /Type /Pages /Kids [3 0 R] /Count 1 >>'],
    [
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${width * POINTS_PER_PIXEL} ${height * POINTS_PER_PIXEL}] /Contents 4 0 R /Group << /S /Transparency /CS /DeviceRGB >> /Resources << /ExtGState << ${resources} >> >> >>`,
    ],
    [`<< /Length ${stream.length} /Filter /FlateDecode >>\nstream\n`, stream, '\nendstream'],
    [`<< /Title ${hex(title)} /Producer ${hex('sae-pipe')} >>`],
  ];
  return assembled(objects);
}

/** Objects 1, 2, … with their cross-reference table; the first is the catalogue, the last the file information. */
function assembled(objects: readonly (readonly (string | Uint8Array)[])[]): Uint8Array {
  // Four bytes above 127 mark the file as binary.
  const parts: Buffer[] = [Buffer.from('%PDF-1.4\n%\u00e2\u00e3\u00cf\u00d3\n', 'latin1')];
  const length = () => parts.reduce((sum, part) => sum + part.length, 0);
  const places = objects.map((object, i) => {
    const at = length();
    const pieces = [`${i + 1} 0 obj\n`, ...object, '\nendobj\n'];
    parts.push(
      ...pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : Buffer.from(piece))),
    );
    return at;
  });
  const begin = length();
  const rows = places.map((at) => `${String(at).padStart(10, '0')} 00000 n \n`).join('');
  parts.push(
    Buffer.from(
      `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${rows}trailer\n<< /Size ${objects.length + 1} /Root 1 0 R /Info ${objects.length} 0 R >>\nstartxref\n${begin}\n%%EOF\n`,
      'latin1',
    ),
  );
  return Buffer.concat(parts);
}

/** The parts of an element of a simplified SVG used here. */
interface SvgElement {
  localName: string;
  children: Iterable<SvgElement>;
  getAttribute(name: string): string | null;
  querySelectorAll(selector: string): Iterable<SvgElement>;
}

/** A pair of opacities. */
interface Opacities {
  fill: number;
  stroke: number;
}

const CAPS: Readonly<Record<string, number>> = { butt: 0, round: 1, square: 2 };
const JOINS: Readonly<Record<string, number>> = { miter: 0, round: 1, bevel: 2 };

const PATH_NUMBER = /-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?/gi;
const numbersIn = (text: string) => [...text.matchAll(PATH_NUMBER)].map(([number]) => Number(number));
/** PDF has no exponent notation. */
const pdfNumber = (value: number) => String(Number(value.toFixed(4)));
const pdfNumbers = (values: readonly number[]) => values.map(pdfNumber).join(' ');

/** A path's outline. Its commands are M, L, C, Q and Z, with absolute coordinates. */
function pathOperators(d: string): string {
  let [x, y] = [0, 0];
  const steps = [...d.matchAll(/([a-z])([^a-z]*(?:e[-+]?\d[^a-z]*)*)/gi)].map(([, command, text]) => {
    const at = numbersIn(text!);
    switch (command) {
      case 'M':
      case 'L':
        [x, y] = at as [number, number];
        return `${pdfNumbers(at)} ${command === 'M' ? 'm' : 'l'}`;
      case 'C':
        [x, y] = at.slice(4) as [number, number];
        return `${pdfNumbers(at)} c`;
      case 'Q': {
        // The equivalent cubic curve.
        const [cx, cy, toX, toY] = at as [number, number, number, number];
        const from = [x + (2 / 3) * (cx - x), y + (2 / 3) * (cy - y)];
        const to = [toX + (2 / 3) * (cx - toX), toY + (2 / 3) * (cy - toY)];
        [x, y] = [toX, toY];
        return `${pdfNumbers([...from, ...to, toX, toY])} c`;
      }
      case 'Z':
        return 'h';
      default:
        throw new Error(`a path has the command ${command}`);
    }
  });
  return steps.join('\n');
}

function pdfColour(text: string): string {
  const found = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(text);
  if (found === null) throw new Error(`a colour is ${text}`);
  return pdfNumbers(found.slice(1).map((digits) => Number.parseInt(digits, 16) / 255));
}

function matrixOperator(element: SvgElement): string[] {
  const transform = element.getAttribute('transform');
  if (transform === null) return [];
  if (!transform.startsWith('matrix(')) throw new Error(`a transformation is ${transform}`);
  return [`${pdfNumbers(numbersIn(transform))} cm`];
}

/** Converts a simplified SVG to the operators of a PDF page. */
class Writer {
  readonly states: Opacities[] = [];
  readonly lines: string[] = [];

  constructor(private readonly clips: ReadonlyMap<string, SvgElement>) {}

  private state(fill: number, stroke: number): string {
    const found = this.states.findIndex((state) => state.fill === fill && state.stroke === stroke);
    if (found >= 0) return `/G${found} gs`;
    this.states.push({ fill, stroke });
    return `/G${this.states.length - 1} gs`;
  }

  private clip(element: SvgElement): void {
    const name = /^url\(#(.+)\)$/.exec(element.getAttribute('clip-path') ?? '')?.[1];
    if (name === undefined) return;
    const clip = this.clips.get(name) ?? raise(`no clip path is called ${name}`);
    const paths = [...clip.querySelectorAll('path')];
    if (matrixOperator(clip).length > 0 || paths.some((path) => matrixOperator(path).length > 0))
      throw new Error('a clip path is transformed');
    const rule = paths.some((path) => path.getAttribute('clip-rule') === 'evenodd') ? 'W*' : 'W';
    this.lines.push(...paths.map((path) => pathOperators(path.getAttribute('d')!)), `${rule} n`);
  }

  /** @param opacity of the enclosing groups; their parts hardly overlap, so it can be applied to each part */
  element(element: SvgElement, opacity: number): void {
    switch (element.localName.toLowerCase()) {
      case 'defs':
        return;
      case 'g': {
        for (const name of ['mask', 'filter'])
          if (element.getAttribute(name) !== null) throw new Error(`a group has a ${name}`);
        this.lines.push('q', ...matrixOperator(element));
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

  private path(path: SvgElement, opacity: number): void {
    const of = (name: string, usual: string) => path.getAttribute(name) ?? usual;
    const [fill, stroke] = [of('fill', '#000000'), of('stroke', 'none')];
    if (of('visibility', 'visible') !== 'visible' || (fill === 'none' && stroke === 'none')) return;
    const opacities = [of('fill-opacity', '1'), of('stroke-opacity', '1')].map((text) => Number(text) * opacity);
    this.lines.push('q', ...matrixOperator(path), this.state(opacities[0]!, opacities[1]!));
    if (fill !== 'none') this.lines.push(`${pdfColour(fill)} rg`);
    if (stroke !== 'none') {
      const dashes = of('stroke-dasharray', 'none');
      this.lines.push(
        `${pdfColour(stroke)} RG`,
        `${pdfNumber(Number(of('stroke-width', '1')))} w`,
        `${CAPS[of('stroke-linecap', 'butt')]} J ${JOINS[of('stroke-linejoin', 'miter')]} j`,
        `${pdfNumber(Math.max(1, Number(of('stroke-miterlimit', '4'))))} M`,
        ...(dashes === 'none'
          ? []
          : [`[${pdfNumbers(numbersIn(dashes))}] ${pdfNumber(Number(of('stroke-dashoffset', '0')))} d`]),
      );
    }
    const star = of('fill-rule', 'nonzero') === 'evenodd' ? '*' : '';
    const paint = fill === 'none' ? 'S' : stroke === 'none' ? `f${star}` : `B${star}`;
    this.lines.push(pathOperators(of('d', '')), paint, 'Q');
  }
}

function raise(message: string): never {
  throw new Error(message);
}

/** The operators that draw a simplified SVG in its own coordinates, and their opacities as /G0, /G1, …. */
function operatorsOf(root: SvgElement): { operators: string; states: readonly Opacities[] } {
  const clips = [...root.querySelectorAll('clipPath, clippath')].map(
    (clip) => [clip.getAttribute('id')!, clip] as const,
  );
  const writer = new Writer(new Map(clips));
  for (const child of root.children) writer.element(child, 1);
  return { operators: writer.lines.join('\n'), states: writer.states };
}
