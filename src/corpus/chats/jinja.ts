import { Template } from '@huggingface/jinja';
import { CLOSE, OPEN, type Renders } from './spans.js';
import { type ChatTemplate, GENERATION, marksGeneration } from './template.js';

/** Max characters of a rendering. */
const MOST_RENDERED = 2 ** 24;
/** Max numbers of a range(): the thread's memory limit does not catch an array that is allocated at once. */
const MOST_NUMBERS = 2 ** 20;

/** A template's output exceeds the limit. */
export class TooLong extends Error {}

const END_GENERATION = /\{%(-?)\s*endgeneration\s*(-?)%\}/g;

/** Replaces the tag by a block with the same white-space control that writes `mark`. */
const marking = (mark: string) => `{%$1 if true %}{{ "${mark}" }}{% endif $2%}`;

/**
 * Compiles a template. If `today` is false, its date functions use a fixed day: the same conversation gives the same
 * text tomorrow.
 *
 * @throws Error if it is not a valid template
 */
export function compiled({ source, tokens }: ChatTemplate, today: boolean): Renders {
  const given = { tools: null, documents: null, ...tokens, fixed_day: fixedDay, bounded_range: boundedRange };
  const ours = `{% set range = bounded_range %}${today ? '' : '{% set strftime_now = fixed_day %}'}`;
  const renderer = (text: string) => {
    // The prefix line ends with a block, so it leaves no output.
    const template = new Template(`${ours}\n${text}`);
    return (messages: readonly object[], prompt: boolean) => {
      const written: unknown = template.render({ ...given, messages, add_generation_prompt: prompt });
      if (typeof written !== 'string') throw new Error('it produces no text');
      if (written.length > MOST_RENDERED) throw new TooLong(`more than ${MOST_RENDERED} characters`);
      return written;
    };
  };
  const plain = renderer(source);
  if (!marksGeneration(source)) return { plain };
  const marked = renderer(source.replace(GENERATION, marking(OPEN)).replace(END_GENERATION, marking(CLOSE)));
  return { plain, marked: (messages) => marked(messages, false) };
}

/** 26 July 2024, the default that Llama 3's templates use if they cannot get the date. */
const FIXED_DAY: Readonly<Record<string, string>> = {
  ...{ d: '26', b: 'Jul', B: 'July', m: '07', Y: '2024', y: '24', a: 'Fri', A: 'Friday' },
  ...{ H: '00', M: '00', S: '00', I: '12', p: 'AM', '%': '%' },
};

/** Python's range. @throws Error if it is longer than any template needs */
function boundedRange(first: number, last?: number, step = 1): number[] {
  const [start, stop] = last === undefined ? [0, first] : [first, last];
  if (step === 0) throw new Error('range() has a step of 0');
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= MOST_NUMBERS)) throw new Error(`range() has more than ${MOST_NUMBERS} numbers`);
  return Array.from({ length }, (_, i) => start + i * step);
}

function fixedDay(format: string): string {
  return format.replaceAll(/%(.)/g, (_, letter: string) => {
    const value = FIXED_DAY[letter];
    if (value === undefined) throw new Error(`it writes the date by %${letter}, which is not supported`);
    return value;
  });
}
