import { isJsonObject, type JsonObject } from '../../disk/json.js';
import { Refusal } from '../../errors/refusal.js';

/** A message of a conversation as templates expect it; other keys, such as tool_calls, are left for them to read. */
export interface Message extends JsonObject {
  readonly role: string;
}

/** The name that --roles uses for what Gemma's own texts call "model". */
export const roleOf = ({ role }: Message): string => (role === 'model' ? 'assistant' : role);

/** The author of a message, as in ShareGPT. */
const SHAREGPT: Readonly<Record<string, string>> = {
  ...{ human: 'user', user: 'user', system: 'system' },
  ...{ gpt: 'assistant', chatgpt: 'assistant', assistant: 'assistant', model: 'assistant', bard: 'assistant' },
  ...{ function_response: 'tool', observation: 'tool', tool: 'tool' },
};

/**
 * The messages of a conversation: a list of {role, content}, or of {from, value} as in ShareGPT. Content that is a list
 * of parts is joined into text.
 *
 * @param source its location, for messages
 * @param field its key or column
 * @param keepsParts whether the template handles lists of parts
 * @throws Refusal if it is something else, or has a part that is not text
 */
export function conversationOf(value: unknown, source: string, field: string, keepsParts = false): Message[] {
  const refuse = (what: string): never => {
    throw new Refusal(
      `${source}: ${what}.`,
      'A conversation is a list of messages with "role" and "content", or "from" and "value"; give its key or column with --chat-field.',
      'corpus/no-chat',
    );
  };
  if (!Array.isArray(value)) return refuse(`"${field}" is ${kindOf(value)}, not a list of messages`);
  return (value as unknown[]).map((message, i) => {
    const at = `message ${i + 1} of "${field}"`;
    if (!isJsonObject(message)) return refuse(`${at} is ${kindOf(message)}`);
    const { role, content, from, value: said, ...rest } = message;
    if (typeof role === 'string') {
      const text = contentOf(content, `${source}, ${at}`, keepsParts, isPresent(rest.tool_calls));
      if (text === undefined) return refuse(`${at} has ${content === undefined ? 'no' : kindOf(content)} "content"`);
      return { ...message, role, content: text };
    }
    if (typeof from !== 'string') return refuse(`${at} has neither "role" nor "from"`);
    const known = SHAREGPT[from];
    if (known === undefined)
      return refuse(`${at} is from ${JSON.stringify(from)}, which is not one of ${namesOfRoles}`);
    if (typeof said !== 'string') return refuse(`${at} has ${said === undefined ? 'no' : kindOf(said)} "value"`);
    return { role: known, content: said };
  });
}

const namesOfRoles = Object.keys(SHAREGPT).join(', ');

const isPresent = (value: unknown) => value !== undefined && value !== null;

/** A conversation as plain text, used for choosing documents. */
export const plainText = (messages: readonly Message[]): string =>
  messages
    .map(({ role, content }) => `${role}\n${typeof content === 'string' ? content : JSON.stringify(content)}\n`)
    .join('');

/**
 * The content of a message; undefined if it is not valid.
 *
 * @param mayLack whether it may be null: a message that calls tools may have no text
 * @throws Refusal naming a part that is not text
 */
function contentOf(content: unknown, at: string, keepsParts: boolean, mayLack: boolean): unknown {
  if (typeof content === 'string') return content;
  if (!isPresent(content)) return mayLack ? null : undefined;
  if (!Array.isArray(content)) return undefined;
  const texts = (content as unknown[]).map((part) => textOfPart(part, at));
  return keepsParts ? content : texts.join('');
}

function textOfPart(part: unknown, at: string): string {
  if (typeof part === 'string') return part;
  const { type, text } = isJsonObject(part) ? part : {};
  if ((type === undefined || type === 'text') && typeof text === 'string') return text;
  throw new Refusal(
    `${at} has a part of type ${JSON.stringify(type ?? kindOf(part))}, but only text is supported.`,
    'Remove such conversations, or their parts that are not text.',
    'corpus/chat-part',
  );
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  const kind = typeof value;
  return kind === 'object' ? 'an object' : kind === 'string' ? 'text' : `a ${kind}`;
}
