import { deflateSync } from 'node:zlib';
import { parseHTML } from 'linkedom';
import { contentOf, type Element } from './pdf-content.js';

/** CSS pixels are a ninety-sixth of an inch, PDF's units a seventy-second. */
const POINTS = 72 / 96;

/** A text string of a PDF: UTF-16 with its mark, in hexadecimal digits. */
const hex = (text: string) => `<${Buffer.from(`\uFEFF${text}`, 'utf16le').swap16().toString('hex').toUpperCase()}>`;

/**
 * A PDF of one page, as large as the figure, with its paths as vectors. Equal input gives equal bytes.
 *
 * @param svg as resvg simplifies it: groups, clip paths and paths alone (raster.ts)
 * @throws Error where there is anything else in it: nothing is left out silently
 */
export function pdfOf(svg: string, title: string): Uint8Array {
  const { document } = parseHTML(`<html><body>${svg}</body></html>`);
  const root = document.querySelector('svg') as unknown as Element;
  const [left, top, width, height] = root
    .getAttribute('viewBox')!
    .split(/[\s,]+/)
    .map(Number) as [number, number, number, number];
  // PDF counts upwards from the lower left corner.
  const place = `${POINTS} 0 0 ${-POINTS} ${-left * POINTS} ${(top + height) * POINTS} cm`;
  const { operators, states } = contentOf(root);
  const stream = deflateSync(Buffer.from(`${place}\n${operators}`));
  const resources = states.map(({ fill, stroke }, i) => `/G${i} << /ca ${fill} /CA ${stroke} >>`).join(' ');
  const objects: (string | Uint8Array)[][] = [
    ['<< /Type /Catalog /Pages 2 0 R /Lang (en) /ViewerPreferences << /DisplayDocTitle true >> >>'],
    ['<< /Type /Pages /Kids [3 0 R] /Count 1 >>'],
    [
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${width * POINTS} ${height * POINTS}] /Contents 4 0 R /Group << /S /Transparency /CS /DeviceRGB >> /Resources << /ExtGState << ${resources} >> >> >>`,
    ],
    [`<< /Length ${stream.length} /Filter /FlateDecode >>\nstream\n`, stream, '\nendstream'],
    [`<< /Title ${hex(title)} /Producer ${hex('sae-pipe')} >>`],
  ];
  return assembled(objects);
}

/** Objects 1, 2, … with their table of places, the first the catalogue and the last the information about the file. */
function assembled(objects: readonly (readonly (string | Uint8Array)[])[]): Uint8Array {
  // Four bytes above 127 tell programs that the file is not text.
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
