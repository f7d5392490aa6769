import { isJsonObject } from '../../disk/json.js';
import { Refusal } from '../../errors/refusal.js';
import type { Document } from '../contexts.js';
import type { Remarks } from '../encodings.js';
import { BadLine, LinesOfText, refusedLine } from '../json-lines.js';
import { conversationOf, type Message, plainText } from './conversation.js';

/** Characters of a line, at most: a conversation is held whole. */
const LONGEST_LINE = 2 ** 24;

/** How conversations are taken from a file. */
export interface ChatReading {
  /** Key or column of the messages. */
  readonly field: string;
  /** Is content that is a list of parts left as it is? */
  readonly parts?: boolean;
}

/** Conversations of JSON Lines, one per line. @throws Refusal naming file and line */
export async function* chatLines(
  file: string,
  text: AsyncGenerator<string>,
  reading: ChatReading,
  remarks: Remarks,
): AsyncGenerator<Document> {
  const { field } = reading;
  for await (const { value, source } of valuesOfLines(file, text, { field, flag: 'chat-field' }, remarks)) {
    yield chatDocument(value, source, reading, remarks);
  }
}

/** A value of a file, and its place. */
export interface FoundValue {
  readonly value: unknown;
  readonly source: string;
}

/** Key or column of values that are no texts, and the flag that names it. */
export interface ValueField {
  readonly field: string;
  readonly flag: 'chat-field' | 'ids-field';
}

/**
 * What lines of JSON have under a key, held whole; lines with null there are passed over.
 *
 * @param text of the file, in pieces
 * @throws Refusal naming file and line
 */
export async function* valuesOfLines(
  file: string,
  text: AsyncGenerator<string>,
  wanted: ValueField,
  remarks: Remarks,
): AsyncGenerator<FoundValue> {
  const lines = new LinesOfText(text);
  try {
    for (let number = 1; await lines.more(); number++) {
      const source = `${file}:${number}`;
      const line = await lines.take(LONGEST_LINE);
      if (line === undefined) {
        throw new Refusal(
          `${source} has more than ${LONGEST_LINE} characters, and what --${wanted.flag} reads is held whole.`,
          'Split the line.',
          'corpus/chat-too-long',
        );
      }
      const value = valueOfLine(line, source, wanted);
      if (value === null) remarks.addNull();
      else if (value !== undefined) yield { value, source };
    }
  } finally {
    await text.return(undefined);
  }
}

/** What a line has under the key; undefined where it is empty. */
function valueOfLine(line: string, source: string, { field, flag }: ValueField): unknown {
  if (/^[ \t\r]*$/.test(line)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw refusedLine(new BadLine({ kind: 'not JSON' }, cause), source, field);
  }
  const found = isJsonObject(value) && Object.hasOwn(value, field) ? value[field] : undefined;
  if (found !== undefined) return found;
  const keys = isJsonObject(value) ? Object.keys(value) : [];
  throw refusedLine(new BadLine({ kind: 'no text', keys }), source, field, flag);
}

/** A conversation as a document that is yet to be rendered. */
export function chatDocument(
  value: unknown,
  source: string,
  { field, parts }: ChatReading,
  remarks: Remarks,
): Document {
  const conversation = conversationOf(value, source, field, parts).map((message): Message => {
    const { content } = message;
    return typeof content === 'string' ? { ...message, content: remarks.wellFormed(content, source) } : message;
  });
  return { pieces: [plainText(conversation)], source, conversation };
}
