import type { Generator } from '../../../src/random/generator.js';
import { mutateBytes } from './bytes.js';
import { pick } from './chance.js';

/** Broken UTF-8 (a lone continuation, an overlong NUL, a surrogate, a cut sequence, beyond Unicode), NUL, marks. */
const PIECES: readonly Buffer[] = [
  ...[[0x80], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82], [0xf7, 0xbf, 0xbf, 0xbf], [0]].map((b) => Buffer.from(b)),
  ...[
    '\ufeff',
    '\u2028',
    '\r\n',
    '\r',
    '\n\n\n',
    '{',
    '}',
    '[',
    ']',
    '"',
    ':',
    ',',
    '&a *a',
    '!!',
    '- ',
    '? ',
    '#',
  ].map((text) => Buffer.from(text)),
  Buffer.from('"\\ud800"'),
  Buffer.from('NaN'),
  Buffer.from('[').fill('['),
  Buffer.alloc(5000, '['),
  Buffer.alloc(200_000, 'a'),
];

/** Text with pieces put in, lines doubled, moved or cut, or its bytes changed. */
export function mutateText(text: Buffer, random: Generator): Buffer {
  const change = random.below(4);
  if (change === 0) return mutateBytes(text, random);
  if (change === 1) {
    const lines = text.toString('latin1').split('\n');
    const at = random.below(lines.length);
    const line = lines[at]!;
    pick(random, [
      () => lines.splice(at, 1),
      () => lines.splice(at, 0, line),
      () => lines.splice(random.below(lines.length), 0, ...lines.splice(at, 1)),
      () => lines.splice(at, 1, line.slice(0, random.below(line.length + 1))),
      () => lines.splice(at, 0, '', ' ', 'null', '0', '[]', '"a"'),
    ])();
    return Buffer.from(lines.join('\n'), 'latin1');
  }
  let changed = text;
  for (let left = 1 + random.below(3); left > 0; left--) {
    const at = random.below(changed.length + 1);
    changed = Buffer.concat([changed.subarray(0, at), pick(random, PIECES), changed.subarray(at)]);
  }
  return changed;
}
