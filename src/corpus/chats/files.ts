import type { Encoding } from '../../config/values.js';
import { Refusal } from '../../errors/refusal.js';
import type { Document } from '../contexts.js';
import { type Remarks, textOf } from '../encodings.js';
import { type CorpusFile, placeOf } from '../file-kind.js';
import type { TextBegin } from '../text-position.js';
import { valuesOfLines } from '../values-of-lines.js';
import { valuesOfParquet } from '../values-of-parquet.js';
import { conversationOf, type Message, plainText } from './conversation.js';

/** How conversations are read from a file. */
interface ChatReading {
  /** Key or column of the messages. */
  readonly field: string;
  /** Keep content that is a list of parts? */
  readonly parts?: boolean;
  /** Position to start reading from. */
  readonly begin: TextBegin;
}

/**
 * Conversations of a file.
 *
 * @throws Refusal if files of its kind cannot contain any
 */
export async function* chatsOfFile(
  file: CorpusFile,
  reading: ChatReading,
  remarks: Remarks,
  encoding: Encoding,
): AsyncGenerator<Document> {
  const { path, kind, packing } = file;
  const isLines = kind === 'lines' || kind === 'lines or text';
  if (!isLines && kind !== 'parquet') {
    throw new Refusal(
      `${path} is neither JSON Lines nor Parquet, which --chat-field requires.`,
      'Convert it, or omit --chat-field.',
      'corpus/chat-of-text',
    );
  }
  const wanted = { field: reading.field, flag: 'chat-field' } as const;
  const { begin } = reading;
  const at = placeOf(file);
  const values = isLines
    ? valuesOfLines(path, textOf(at, packing, encoding, begin), wanted, remarks, begin)
    : valuesOfParquet(at, wanted, remarks, begin.row);
  for await (const { value, source, place } of values) {
    yield { ...chatDocument(value, source, reading, remarks), place };
  }
}

/** A conversation as a document yet to be rendered. */
function chatDocument(value: unknown, source: string, { field, parts }: ChatReading, remarks: Remarks): Document {
  const conversation = conversationOf(value, source, field, parts).map((message): Message => {
    const { content } = message;
    return typeof content === 'string' ? { ...message, content: remarks.wellFormed(content, source) } : message;
  });
  return { pieces: [plainText(conversation)], source, conversation };
}
