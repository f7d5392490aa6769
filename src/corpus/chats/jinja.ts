import { Template } from '@huggingface/jinja';
import { CLOSE, OPEN, type Renders } from './spans.js';
import { type ChatTemplate, GENERATION, marksGeneration } from './template.js';

/** Characters of a rendering, at most. */
const MOST_RENDERED = 2 ** 24;
/** Numbers of a range(), at most: the thread's bound on memory is noticed too late for an array that grows at once. */
const MOST_NUMBERS = 2 ** 20;

/** A template gives more than anyone reads. */
export class TooLong extends Error {}

const END_GENERATION = /\{%(-?)\s*endgeneration\s*(-?)%\}/g;

/** A tag that is a block as before, for the white space around it, and writes `mark`. */
const marking = (mark: string) => `{%$1 if true %}{{ "${mark}" }}{% endif $2%}`;

/**
 * Makes a template ready. What it asks of the day it gets of one fixed day where `today` is false: the same conversation
 * has the same text tomorrow.
 *
 * @throws Error where it is not a template
 */
export function compiled({ source, tokens }: ChatTemplate, today: boolean): Renders {
  const given = { tools: null, documents: null, ...tokens, fixed_day: fixedDay, bounded_range: boundedRange };
  const ours = `{% set range = bounded_range %}${today ? '' : '{% set strftime_now = fixed_day %}'}`;
  const renderer = (text: string) => {
    // The line ends with a block, so nothing is left of it.
    const template = new Template(`${ours}\n${text}`);
    return (messages: readonly object[], prompt: boolean) => {
      const written: unknown = template.render({ ...given, messages, add_generation_prompt: prompt });
      if (typeof written !== 'string') throw new Error('it gives no text');
      if (written.length > MOST_RENDERED) throw new TooLong(`more than ${MOST_RENDERED} characters`);
      return written;
    };
  };
  const plain = renderer(source);
  if (!marksGeneration(source)) return { plain };
  const marked = renderer(source.replace(GENERATION, marking(OPEN)).replace(END_GENERATION, marking(CLOSE)));
  return { plain, marked: (messages) => marked(messages, false) };
}

/** 26 July 2024, which templates of Llama 3 themselves put where they cannot ask. */
const FIXED_DAY: Readonly<Record<string, string>> = {
  ...{ d: '26', b: 'Jul', B: 'July', m: '07', Y: '2024', y: '24', a: 'Fri', A: 'Friday' },
  ...{ H: '00', M: '00', S: '00', I: '12', p: 'AM', '%': '%' },
};

/** Python's range. @throws Error where it is longer than any template needs */
function boundedRange(first: number, last?: number, step = 1): number[] {
  const [start, stop] = last === undefined ? [0, first] : [first, last];
  if (step === 0) throw new Error('range() has a step of 0');
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= MOST_NUMBERS)) throw new Error(`range() gives more than ${MOST_NUMBERS} numbers`);
  return Array.from({ length }, (_, i) => start + i * step);
}

function fixedDay(format: string): string {
  return format.replaceAll(/%(.)/g, (_, letter: string) => {
    const value = FIXED_DAY[letter];
    if (value === undefined) throw new Error(`it writes the date by %${letter}, which is not known`);
    return value;
  });
}
