import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { initWasm, Resvg } from '@resvg/resvg-wasm';

/** Pixels of the picture for one of the figure: about 290 dots per inch at the figure's own size. */
const SCALE = 3;

const FAMILY = 'DejaVu Sans';

/** The characters that the two faces of assets/fonts have. */
const COVERED =
  /[\n\u0020-\u007E\u00A0-\u02AF\u0370-\u0377\u037A-\u037F\u0384-\u038A\u038C\u038E-\u03A1\u03A3-\u04FF\u1E00-\u1EFB\u2000-\u200C\u200E-\u2064\u206A-\u2071\u2074-\u208E\u2090-\u209C\u20A0-\u20B5\u20B8-\u20BA\u20BD\u2100-\u2109\u210B-\u2149\u214B\u214E\u2190-\u22FF\u25A0-\u25FF\u2713-\u2717\uFFFD]|[\u0300-\u034F]/u;

let ready: Promise<Uint8Array[]> | undefined;

const packaged = (path: string) => readFile(fileURLToPath(new URL(`../../../assets/fonts/${path}`, import.meta.url)));

/** Compiles resvg once a process and reads the faces that figures are set in. */
async function load(): Promise<Uint8Array[]> {
  const wasm = fileURLToPath(import.meta.resolve('@resvg/resvg-wasm/index_bg.wasm'));
  await initWasm(await readFile(wasm));
  return Promise.all([packaged('DejaVuSans.ttf'), packaged('DejaVuSans-Bold.ttf')]);
}

/** A figure as resvg reads it. */
async function opened(svg: string): Promise<InstanceType<typeof Resvg>> {
  ready ??= load();
  const fontBuffers = await ready;
  const font = { fontBuffers, defaultFontFamily: FAMILY, sansSerifFamily: FAMILY };
  return new Resvg(svg, { font, fitTo: { mode: 'zoom', value: SCALE } });
}

/** The SVG file as a PNG. Fonts are the package's own, so that the bytes are the same on every machine. */
export async function pngOf(svg: string): Promise<Uint8Array> {
  const resvg = await opened(svg);
  try {
    return resvg.render().asPng();
  } finally {
    resvg.free();
  }
}

/** The SVG file made of groups, clip paths and paths alone, with absolute coordinates; text is outlines. */
export async function outlined(svg: string): Promise<string> {
  const resvg = await opened(svg);
  try {
    return resvg.toString();
  } finally {
    resvg.free();
  }
}

/** Characters of a figure's text that the package's faces lack. */
export function uncovered(svg: string): string[] {
  const texts = [...svg.matchAll(/<text[^>]*>([\s\S]*?)<\/text>/g)].map(([, text]) => text!.replace(/<[^>]*>/g, ''));
  return [...new Set([...texts.join('')].filter((character) => !COVERED.test(character)))];
}
