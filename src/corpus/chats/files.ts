import type { Encoding } from '../../config/values.js';
import { Refusal } from '../../errors/refusal.js';
import type { Document } from '../contexts.js';
import { type Remarks, textOf } from '../encodings.js';
import { type CorpusFile, placeOf } from '../file-kind.js';
import { type ChatReading, chatLines } from './lines.js';
import { parquetChats } from './parquet-chats.js';

/**
 * Conversations of a file.
 *
 * @throws Refusal where files of its kind have none
 */
export async function* chatsOfFile(
  file: CorpusFile,
  reading: ChatReading,
  remarks: Remarks,
  encoding: Encoding,
): AsyncGenerator<Document> {
  const { path, kind, packing } = file;
  const place = placeOf(file);
  if (kind === 'parquet') yield* parquetChats(place, reading, remarks);
  else if (kind === 'lines' || kind === 'lines or text') {
    yield* chatLines(path, textOf(place, packing, encoding), reading, remarks);
  } else {
    throw new Refusal(
      `${path} is neither JSON Lines nor Parquet, and --chat-field reads conversations from those.`,
      'Convert it, or leave --chat-field out.',
      'corpus/chat-of-text',
    );
  }
}
