import { UsageRefusal } from '../errors/refusal.js';
import type { RowChanges } from './changes.js';

/**
 * The positions at which features are changed, from flags.
 *
 * @param positions a list such as 3,5-9
 * @param from first changed token
 * @param usual first changed token if neither flag is given
 * @param longest max tokens of a text
 * @throws UsageRefusal if both are given, or no text reaches a position
 */
export function changedPositions(
  { positions, from }: { readonly positions?: readonly string[]; readonly from?: number },
  usual: number,
  longest: number,
): RowChanges['at'] {
  if (positions === undefined) {
    const first = from ?? usual;
    if (first >= longest) throw outside(first, longest, '--from');
    return (position) => position >= first;
  }
  if (from !== undefined) {
    throw new UsageRefusal(
      '--positions and --from both give positions to change.',
      'Give one of them.',
      'generate/positions',
    );
  }
  const ranges = positions.map((text) => {
    const [, first, last = first] = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(text.trim()) ?? [];
    if (first === undefined || Number(last) < Number(first)) {
      throw new UsageRefusal(
        `--positions "${text}" is not a position.`,
        'Write token numbers, counted from 0, or ranges: 3,5-9.',
        'config/wrong-value',
      );
    }
    if (Number(last) >= longest) throw outside(Number(last), longest, '--positions');
    return [Number(first), Number(last)] as const;
  });
  return (position) => ranges.some(([first, last]) => position >= first && position <= last);
}

const outside = (position: number, longest: number, flag: string) =>
  new UsageRefusal(
    `No text reaches position ${position}: prompt and continuation have at most ${longest} tokens.`,
    `Use a ${flag} below ${longest}, or more --tokens.`,
    'generate/positions',
  );
