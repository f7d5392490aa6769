import type { Encoding, IdsDType } from '../config/values.js';
import { Refusal } from '../errors/refusal.js';
import { chatsOfFile } from './chats/files.js';
import type { Document } from './contexts.js';
import { csvDocuments } from './csv.js';
import { type Remarks, textOf } from './encodings.js';
import { type CorpusFile, placeOf } from './file-kind.js';
import { arrayDocuments } from './ids/arrays.js';
import { idsDocument, USUAL_FIELD } from './ids/ids.js';
import { jsonLines } from './json-lines.js';
import { readParquetDocuments } from './parquet.js';
import { beginsWithObject } from './standard-input.js';
import { Begun, textsOrIds } from './text-or-ids.js';
import { type CorpusBegin, fileBegin, type TextBegin } from './text-position.js';
import { unpacked } from './unpacked.js';
import { type FoundValue, type ValueField, valuesOfLines } from './values-of-lines.js';
import { valuesOfParquet } from './values-of-parquet.js';

const USUAL: ValueField = { field: USUAL_FIELD, flag: 'ids-field' };

/** How the documents of a file are read. */
export interface FileReading {
  /** Key or column of conversations, if these are read instead of text. */
  readonly chatField?: string;
  /** Keep content that is a list of parts? */
  readonly chatParts?: boolean;
  /** Key or column of token ids, if these are read instead of text, and the element type of .bin files. */
  readonly idsField?: string;
  readonly idsDtype?: IdsDType;
  /** Encoding of .txt, tables and JSON Lines; strings in Parquet are UTF-8. */
  readonly encoding?: Encoding;
  /** Told what was skipped or replaced in each file, once it is closed. */
  readonly say?: (line: string) => void;
  /** Where to start; earlier parts of the file are read if necessary. */
  readonly from?: CorpusBegin;
  /** Max characters of a JSON line held in memory. */
  readonly shortLine?: number;
}

/**
 * The documents of one file: texts, conversations or token ids.
 *
 * @param textField the column or JSON key of the text
 * @throws Refusal naming file and location of a broken document
 */
export async function* documentsOfFile(
  file: CorpusFile,
  textField: string,
  remarks: Remarks,
  reading: FileReading,
): AsyncGenerator<Document> {
  const { path, kind, packing } = file;
  const { encoding = 'utf-8', chatField, chatParts, idsDtype, from } = reading;
  const begin = beginOf(file, reading);
  if (chatField !== undefined) {
    return yield* chatsOfFile(file, { field: chatField, parts: chatParts, begin }, remarks, encoding);
  }
  const bytes = () => unpacked(placeOf(file), packing);
  if (kind === 'array') return yield* arrayDocuments(path, bytes(), idsDtype);
  if (kind === 'arrow') {
    // Loaded only for such files: Arrow takes longer to load than the rest of a text thread.
    const { arrowDocuments } = await import('./ids/arrow.js');
    return yield* arrowDocuments(path, bytes(), { textField, idsField: reading.idsField }, remarks);
  }
  // The file's first document decides for all of it.
  const idsField = reading.idsField ?? (from?.ids ? USUAL_FIELD : undefined);
  if (idsField !== undefined) return yield* idsOfFile(file, idsField, remarks, encoding, begin);
  const place = placeOf(file);
  if (kind === 'parquet') {
    const texts = readParquetDocuments(place, textField, remarks, begin.row);
    return yield* textsOrIds(texts, () => idsOfFile(file, USUAL_FIELD, remarks, encoding, begin));
  }
  const text = textOf(place, packing, encoding, begin);
  if (!isLines(kind)) return yield* textsOfFile(file, text, textField, remarks, reading, begin);
  // Standard input can be read only once: what is read to detect the format is replayed from memory.
  const begun = new Begun(text);
  const texts = textsOfFile(file, begun.first(), textField, remarks, reading, begin);
  const ids = () => idsIn(valuesOfLines(path, begun.again(), USUAL, remarks, begin), USUAL_FIELD);
  try {
    yield* textsOrIds(
      texts,
      () => (begun.isHeld ? ids() : undefined),
      () => begun.drop(),
    );
  } finally {
    await text.return(undefined);
  }
}

/** Where to start reading a file's text: at its beginning for compressed files, other encodings and tables. */
function beginOf({ kind, packing }: CorpusFile, { encoding = 'utf-8', from }: FileReading): TextBegin {
  const { row = 0, byte = 0 } = from ?? {};
  if (kind === 'parquet') return { row, byte: 0 };
  return kind === 'lines' && packing === 'none' && encoding === 'utf-8' ? { row, byte } : fileBegin();
}

/** Texts of a non-binary file. */
async function* textsOfFile(
  { path, kind }: CorpusFile,
  text: AsyncGenerator<string>,
  textField: string,
  remarks: Remarks,
  { shortLine, say }: FileReading,
  begin: TextBegin,
): AsyncGenerator<Document> {
  if (kind === 'lines') return yield* jsonLines(path, text, textField, remarks, shortLine, begin);
  if (kind === 'lines or text') return yield* linesOrText(path, text, textField, remarks, say);
  if (kind === 'csv' || kind === 'tsv') return yield* csvDocuments(path, text, kind === 'csv' ? ',' : '\t', textField);
  yield* wholeText(path, text);
}

const isLines = (kind: CorpusFile['kind']) => kind === 'lines' || kind === 'lines or text';

/** Token ids of JSON Lines or Parquet. @throws Refusal if files of its kind cannot contain any */
async function* idsOfFile(
  file: CorpusFile,
  field: string,
  remarks: Remarks,
  encoding: Encoding,
  begin: TextBegin,
): AsyncGenerator<Document> {
  const { path, kind, packing } = file;
  if (!isLines(kind) && kind !== 'parquet') {
    throw new Refusal(
      `${path} contains text; --ids-field reads token ids from JSON Lines, Parquet and Arrow.`,
      'Convert it, or omit --ids-field.',
      'corpus/ids-of-text',
    );
  }
  const wanted: ValueField = { field, flag: 'ids-field' };
  const place = placeOf(file);
  const values = isLines(kind)
    ? valuesOfLines(path, textOf(place, packing, encoding, begin), wanted, remarks, begin)
    : valuesOfParquet(place, wanted, remarks, begin.row);
  yield* idsIn(values, field);
}

async function* idsIn(values: AsyncGenerator<FoundValue>, field: string): AsyncGenerator<Document> {
  for await (const { value, source, place } of values) yield { ...idsDocument(value, source, field), place };
}

async function* wholeText(path: string, text: AsyncGenerator<string>): AsyncGenerator<Document> {
  try {
    yield { pieces: text, source: path, place: { row: 0, byte: 0 } };
  } finally {
    await text.return(undefined);
  }
}

/** Detects whether the text is JSON Lines, and reports the result. */
async function* linesOrText(
  path: string,
  text: AsyncGenerator<string>,
  textField: string,
  remarks: Remarks,
  say: FileReading['say'],
): AsyncGenerator<Document> {
  const { isObject, text: all } = await beginsWithObject(text);
  say?.(`${path} is read as ${isObject ? 'JSON Lines' : 'one plain text'}; override with --corpus-format.`);
  yield* isObject ? jsonLines(path, all, textField, remarks) : wholeText(path, all);
}
