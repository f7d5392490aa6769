import { Refusal } from '../config/refusal.js';
import type { Document } from './documents.js';

/** Documents of a Parquet file, row group by row group. */
export async function* readParquetDocuments(file: string, textField: string): AsyncGenerator<Document> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } = await import('hyparquet');
  try {
    const buffer = await asyncBufferFromFile(file);
    const metadata = await parquetMetadataAsync(buffer);
    const columns = metadata.schema.filter((element) => element.num_children === undefined).map(({ name }) => name);
    if (!columns.includes(textField)) {
      throw new Refusal(
        `${file} has no column "${textField}" (it has: ${columns.join(', ')}).`,
        'Name it with --text-field.',
      );
    }
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      const rows = await parquetReadObjects({ file: buffer, metadata, columns: [textField], rowStart, rowEnd });
      for (const [i, row] of rows.entries()) {
        const text: unknown = row[textField];
        const source = `${file}, row ${rowStart + i}`;
        if (typeof text !== 'string') throw new Refusal(`${source}: column "${textField}" holds no text.`);
        yield { text, source };
      }
      rowStart = rowEnd;
    }
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Refusal(
      `${file} could not be read as Parquet: ${reason}.`,
      'Supported are uncompressed and Snappy-compressed columns.',
      { cause },
    );
  }
}
