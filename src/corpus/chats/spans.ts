import { type Message, roleOf } from './conversation.js';

/** How the characters of a rendering are attributed to messages. */
export type SpanRule = 'generation' | 'prefixes';

/** A rendered conversation, and the spans of the messages of the wanted roles. */
export interface Rendering {
  readonly text: string;
  /** [from, to, …] in UTF-16 units, ascending and disjoint; undefined if every role is wanted. */
  readonly spans?: readonly number[];
}

/** A compiled template. */
export interface Renders {
  /** @param prompt whether to add the beginning of an answer */
  plain(messages: readonly Message[], prompt: boolean): string;
  /** The same with what a model generates between OPEN and CLOSE; undefined if the template does not mark it. */
  readonly marked?: (messages: readonly Message[]) => string;
}

/** The template does not show which characters belong to which message. */
export class AmbiguousTemplate extends Error {}

/** Mark the beginning and end of what a model generates. No text contains these code points. */
export const [OPEN, CLOSE] = ['\ufdd0', '\ufdd1'];

/**
 * Renders a conversation and finds the spans of the wanted roles.
 *
 * @param roles every role if undefined
 * @param bos prefix of a text that belongs to no message
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

/** Spans of what the template marks with {% generation %}, like transformers' return_assistant_tokens_mask. */
function markedSpans(marked: string, text: string): number[] {
  const spans: number[] = [];
  let length = 0;
  for (const piece of marked.split(/([\ufdd0\ufdd1])/)) {
    if (piece !== OPEN && piece !== CLOSE) length += piece.length;
    else if ((piece === OPEN) === (spans.length % 2 === 0)) spans.push(length);
    else throw new AmbiguousTemplate('its {% generation %} blocks are nested');
  }
  if (marked.replaceAll(/[\ufdd0\ufdd1]/g, '') !== text || spans.length % 2 !== 0) {
    throw new AmbiguousTemplate('it changes its output around {% generation %}');
  }
  return spans;
}

/**
 * The characters of message i: what the rendering up to it adds to the rendering of the messages before it; for an
 * assistant, without the generation prompt, which a model does not generate.
 *
 * @param begin text before the first message
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
    throw new AmbiguousTemplate(`its text up to message ${i + 1} depends on later messages`);
  }
  return [before.length, upTo.length];
}

function beforeMessage(renders: Renders, messages: readonly Message[], i: number, begin: string | undefined): string {
  const isAnswer = roleOf(messages[i]!) === 'assistant';
  if (begin === undefined) return renders.plain(messages.slice(0, i), isAnswer);
  return isAnswer ? beforeFirstAnswer(renders, messages[0]!, begin) : begin;
}

/** Stands for the content of a message. No text contains this code point. */
const WORDS = '\ufdd2';

/**
 * The text before the answer if the conversation starts with an assistant: many templates render no empty conversation,
 * or write a default system prompt only with the first message, so the generation prompt is taken from a user message
 * and searched for before the answer.
 *
 * @throws AmbiguousTemplate if it is not found
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
  // A template with an empty generation prompt writes nothing before answers.
  if (header === '' && words >= 0 && before === begin) return begin;
  throw new AmbiguousTemplate('the assistant begins, and its generation prompt is not found');
}

/** Spans in ascending order; adjacent ones merged, empty ones removed. */
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
