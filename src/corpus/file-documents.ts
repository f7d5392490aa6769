import type { Encoding, IdsDType } from '../config/values.js';
import { Refusal } from '../errors/refusal.js';
import { chatsOfFile } from './chats/files.js';
import { valuesOfLines } from './chats/lines.js';
import { valuesOfParquet } from './chats/parquet-chats.js';
import type { Document } from './contexts.js';
import { csvDocuments } from './csv.js';
import { type Remarks, textOf } from './encodings.js';
import { type CorpusFile, placeOf } from './file-kind.js';
import { arrayDocuments } from './ids/arrays.js';
import { arrowDocuments } from './ids/arrow.js';
import { idsDocument, USUAL_FIELD } from './ids/ids.js';
import { jsonLines } from './json-lines.js';
import { readParquetDocuments } from './parquet.js';
import { beginsWithObject } from './standard-input.js';
import { unpacked } from './unpacked.js';

/** How the documents of a file are read. */
export interface FileReading {
  /** Key or column of conversations, where these are read instead of text. */
  readonly chatField?: string;
  /** Is content that is a list of parts left as it is? */
  readonly chatParts?: boolean;
  /** Key or column of token ids, where these are read instead of text; and what numbers of .bin files are. */
  readonly idsField?: string;
  readonly idsDtype?: IdsDType;
  /** Of .txt, tables and JSON Lines; strings in Parquet are UTF-8. */
  readonly encoding?: Encoding;
  /** Hears what was passed over or replaced in each file, once that is closed. */
  readonly say?: (line: string) => void;
  /** Characters of a JSON line that is held whole, at most. */
  readonly shortLine?: number;
}

/**
 * The documents of one file: texts, conversations or token ids.
 *
 * @param textField the column or JSON key that holds the text
 * @throws Refusal naming file and place of a broken document
 */
export async function* documentsOfFile(
  file: CorpusFile,
  textField: string,
  remarks: Remarks,
  reading: FileReading,
): AsyncGenerator<Document> {
  const { path, kind, packing } = file;
  const { encoding = 'utf-8', chatField, chatParts, idsField, idsDtype } = reading;
  if (chatField !== undefined) {
    return yield* chatsOfFile(file, { field: chatField, parts: chatParts }, remarks, encoding);
  }
  const bytes = () => unpacked(placeOf(file), packing);
  if (kind === 'array') return yield* arrayDocuments(path, bytes(), idsDtype);
  if (kind === 'arrow') return yield* arrowDocuments(path, bytes(), { textField, idsField }, remarks);
  if (idsField !== undefined) return yield* idsOfFile(file, idsField, remarks, encoding);
  const texts = textsOfFile(file, textField, remarks, reading);
  const mayHoldIds = kind === 'lines' || kind === 'parquet';
  yield* mayHoldIds ? textsOrIds(texts, () => idsOfFile(file, USUAL_FIELD, remarks, encoding)) : texts;
}

async function* textsOfFile(
  file: CorpusFile,
  textField: string,
  remarks: Remarks,
  { encoding = 'utf-8', shortLine, say }: FileReading,
): AsyncGenerator<Document> {
  const { path, kind, packing } = file;
  const place = placeOf(file);
  if (kind === 'parquet') return yield* readParquetDocuments(place, textField, remarks);
  const text = textOf(place, packing, encoding);
  if (kind === 'lines') return yield* jsonLines(path, text, textField, remarks, shortLine);
  if (kind === 'lines or text') return yield* linesOrText(path, text, textField, remarks, say);
  if (kind === 'csv' || kind === 'tsv') return yield* csvDocuments(path, text, kind === 'csv' ? ',' : '\t', textField);
  yield* wholeText(path, text);
}

/** Token ids of JSON Lines or Parquet. @throws Refusal where files of its kind have none */
async function* idsOfFile(
  file: CorpusFile,
  field: string,
  remarks: Remarks,
  encoding: Encoding,
): AsyncGenerator<Document> {
  const { path, kind, packing } = file;
  const wanted = { field, flag: 'ids-field' } as const;
  const place = placeOf(file);
  const isLines = kind === 'lines' || kind === 'lines or text';
  if (!isLines && kind !== 'parquet') {
    throw new Refusal(
      `${path} holds text, and --ids-field reads token ids from JSON Lines, Parquet and Arrow.`,
      'Convert it, or leave --ids-field out.',
      'corpus/ids-of-text',
    );
  }
  const values = isLines
    ? valuesOfLines(path, textOf(place, packing, encoding), wanted, remarks)
    : valuesOfParquet(place, wanted, remarks);
  for await (const { value, source } of values) yield idsDocument(value, source, field);
}

/** Does the refusal say that there is no text under the key or column? */
const lacksField = (error: unknown): boolean =>
  error instanceof Refusal && ['corpus/no-text', 'corpus/no-text-column'].includes(error.code);

/** Texts; or token ids, where the first document has those and no text. */
async function* textsOrIds(
  texts: AsyncGenerator<Document>,
  ids: () => AsyncGenerator<Document>,
): AsyncGenerator<Document> {
  const first = await texts.next().catch((refusal: unknown) => {
    if (!lacksField(refusal)) throw refusal;
    return { refusal };
  });
  if ('refusal' in first) {
    const { refusal } = first;
    const found = ids();
    const begun = await found.next().catch((error: unknown) => {
      throw lacksField(error) ? refusal : error;
    });
    if (!begun.done) yield begun.value;
    return yield* found;
  }
  try {
    if (!first.done) yield first.value;
    yield* texts;
  } finally {
    await texts.return(undefined);
  }
}

async function* wholeText(path: string, text: AsyncGenerator<string>): AsyncGenerator<Document> {
  try {
    yield { pieces: text, source: path };
  } finally {
    await text.return(undefined);
  }
}

/** Reads as JSON Lines what begins as they do, and says which it was. */
async function* linesOrText(
  path: string,
  text: AsyncGenerator<string>,
  textField: string,
  remarks: Remarks,
  say: FileReading['say'],
): AsyncGenerator<Document> {
  const { isObject, text: all } = await beginsWithObject(text);
  say?.(`${path} is read as ${isObject ? 'JSON Lines' : 'one plain text'}; --corpus-format says otherwise.`);
  yield* isObject ? jsonLines(path, all, textField, remarks) : wholeText(path, all);
}
