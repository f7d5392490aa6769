import { type Message, roleOf } from './conversation.js';

/** How it is known which characters of a rendering are whose. */
export type SpanRule = 'generation' | 'prefixes';

/** A conversation as a template writes it, and where in it the messages of the wanted roles are. */
export interface Rendering {
  readonly text: string;
  /** [from, to, …] in UTF-16 units, ascending and apart; undefined where every role is wanted. */
  readonly spans?: readonly number[];
}

/** A template that can be applied. */
export interface Renders {
  /** @param prompt add the beginning of an answer? */
  plain(messages: readonly Message[], prompt: boolean): string;
  /** The same with what a model is to generate between OPEN and CLOSE; undefined where the template does not tell. */
  readonly marked?: (messages: readonly Message[]) => string;
}

/** The template does not say which characters are of which message. */
export class AmbiguousTemplate extends Error {}

/** Stand where a marked template begins and ends what a model generates. No text has these code points. */
export const [OPEN, CLOSE] = ['\ufdd0', '\ufdd1'];

/**
 * Renders a conversation and finds the characters of the wanted roles.
 *
 * @param roles every role where undefined
 * @param bos what a text may begin with that is nobody's
 * @throws AmbiguousTemplate
 */
export function rendering(
  renders: Renders,
  messages: readonly Message[],
  roles: readonly string[] | undefined,
  bos = '',
): Rendering {
  const text = renders.plain(messages, false);
  if (!roles) return { text };
  const spans: number[] = [];
  const begin = text.startsWith(bos) ? bos : '';
  const byMarks = renders.marked !== undefined && roles.includes('assistant');
  if (byMarks) spans.push(...markedSpans(renders.marked!(messages), text));
  for (const [i, message] of messages.entries()) {
    const role = roleOf(message);
    if (!roles.includes(role) || (byMarks && role === 'assistant')) continue;
    spans.push(...spanOf(renders, messages, i, i === 0 ? begin : undefined, text));
  }
  return { text, spans: joined(spans) };
}

/** Spans of what the template marks by {% generation %}, as transformers' return_assistant_tokens_mask takes them. */
function markedSpans(marked: string, text: string): number[] {
  const spans: number[] = [];
  let length = 0;
  for (const piece of marked.split(/([\ufdd0\ufdd1])/)) {
    if (piece !== OPEN && piece !== CLOSE) length += piece.length;
    else if ((piece === OPEN) === (spans.length % 2 === 0)) spans.push(length);
    else throw new AmbiguousTemplate('its {% generation %} blocks lie in one another');
  }
  if (marked.replaceAll(/[\ufdd0\ufdd1]/g, '') !== text || spans.length % 2 !== 0) {
    throw new AmbiguousTemplate('it changes what it has written in {% generation %}');
  }
  return spans;
}

/**
 * The characters of message i: what the conversation up to it has more than the conversation before it; of an assistant
 * after the words that its answer is asked for with, which a model does not generate.
 *
 * @param begin of the first message, what stands before it
 */
function spanOf(
  renders: Renders,
  messages: readonly Message[],
  i: number,
  begin: string | undefined,
  text: string,
): [number, number] {
  const upTo = i === messages.length - 1 ? text : renders.plain(messages.slice(0, i + 1), false);
  const before = beforeMessage(renders, messages, i, begin);
  if (!(upTo.startsWith(before) && text.startsWith(upTo))) {
    throw new AmbiguousTemplate(`what it writes up to message ${i + 1} changes with what comes after`);
  }
  return [before.length, upTo.length];
}

function beforeMessage(renders: Renders, messages: readonly Message[], i: number, begin: string | undefined): string {
  const isAnswer = roleOf(messages[i]!) === 'assistant';
  if (begin === undefined) return renders.plain(messages.slice(0, i), isAnswer);
  return isAnswer ? beforeFirstAnswer(renders, messages[0]!, begin) : begin;
}

/** Stands for the words of a message. No text has this code point. */
const WORDS = '\ufdd2';

/**
 * What a conversation that an assistant begins has before its answer: many templates render no empty conversation, or
 * write a default system prompt with the first message alone, so the words that ask for an answer are taken from a
 * user's message, and looked for before the answer.
 *
 * @throws AmbiguousTemplate where they are not there
 */
function beforeFirstAnswer(renders: Renders, answer: Message, begin: string): string {
  const question = [{ role: 'user', content: WORDS }];
  let header: string | undefined;
  let shown: string;
  try {
    const [asked, said] = [renders.plain(question, true), renders.plain(question, false)];
    if (asked.startsWith(said)) header = asked.slice(said.length);
    shown = renders.plain([{ ...answer, content: WORDS }], false);
  } catch {
    shown = '';
  }
  const words = shown.indexOf(WORDS);
  const before = shown.slice(0, Math.max(0, words));
  const at = header ? before.lastIndexOf(header) : -1;
  if (header && at >= 0) return before.slice(0, at + header.length);
  // A template that asks for answers with nothing writes nothing before them.
  if (header === '' && words >= 0 && before === begin) return begin;
  throw new AmbiguousTemplate('the assistant begins, and what asks for its answer is not there');
}

/** Spans in ascending order, those that touch as one, empty ones left out. */
function joined(spans: readonly number[]): number[] {
  const pairs: [number, number][] = [];
  for (let i = 0; i < spans.length; i += 2) pairs.push([spans[i]!, spans[i + 1]!]);
  const all: number[] = [];
  for (const [from, to] of pairs.sort(([a], [b]) => a - b)) {
    if (from >= to) continue;
    if (all.length > 0 && from <= all.at(-1)!) all[all.length - 1] = Math.max(to, all.at(-1)!);
    else all.push(from, to);
  }
  return all;
}
