import { isJsonObject, type JsonObject } from '../../disk/json.js';
import { Refusal } from '../../errors/refusal.js';

/** A message of a conversation as templates take it: other keys, such as tool_calls, are theirs to read. */
export interface Message extends JsonObject {
  readonly role: string;
}

/** How --roles calls what Gemma's own texts call "model". */
export const roleOf = ({ role }: Message): string => (role === 'model' ? 'assistant' : role);

/** Who writes a message, as ShareGPT names them. */
const SHAREGPT: Readonly<Record<string, string>> = {
  ...{ human: 'user', user: 'user', system: 'system' },
  ...{ gpt: 'assistant', chatgpt: 'assistant', assistant: 'assistant', model: 'assistant', bard: 'assistant' },
  ...{ function_response: 'tool', observation: 'tool', tool: 'tool' },
};

/**
 * The messages of a conversation: a list of {role, content}, or of {from, value} as ShareGPT writes it. Content that is a
 * list of parts becomes their text.
 *
 * @param source its place, for messages
 * @param field the key or column that it stands under
 * @param keepsParts does the template take lists of parts?
 * @throws Refusal where it is something else, or has a part that is not text
 */
export function conversationOf(value: unknown, source: string, field: string, keepsParts = false): Message[] {
  const refuse = (what: string): never => {
    throw new Refusal(
      `${source}: ${what}.`,
      'A conversation is a list of messages with "role" and "content", or "from" and "value"; name its key or column with --chat-field.',
      'corpus/no-chat',
    );
  };
  if (!Array.isArray(value)) return refuse(`"${field}" holds ${kindOf(value)}, not a list of messages`);
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
    if (known === undefined) return refuse(`${at} is from ${JSON.stringify(from)}, which is none of ${namesOfRoles}`);
    if (typeof said !== 'string') return refuse(`${at} has ${said === undefined ? 'no' : kindOf(said)} "value"`);
    return { role: known, content: said };
  });
}

const namesOfRoles = Object.keys(SHAREGPT).join(', ');

const isPresent = (value: unknown) => value !== undefined && value !== null;

/** A conversation in words: what chooses documents looks at it. */
export const plainText = (messages: readonly Message[]): string =>
  messages
    .map(({ role, content }) => `${role}\n${typeof content === 'string' ? content : JSON.stringify(content)}\n`)
    .join('');

/**
 * The content of a message; undefined where it is none.
 *
 * @param mayLack may it be null? A message that calls tools may have nothing to say
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
    `${at} has a part of type ${JSON.stringify(type ?? kindOf(part))}, and only text is read.`,
    'Leave such conversations out, or their parts that are not text.',
    'corpus/chat-part',
  );
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  const kind = typeof value;
  return kind === 'object' ? 'an object' : kind === 'string' ? 'text' : `a ${kind}`;
}
