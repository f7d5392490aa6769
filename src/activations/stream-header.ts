import { createHash } from 'node:crypto';
import type { Schema } from 'apache-arrow';
import { z } from 'zod';
import { Refusal } from '../config/refusal.js';
import { rowsSchema } from './arrow-files.js';
import { type Manifest, manifestSchema } from './manifest.js';
import type { SourceDescription } from './source.js';

export const STREAM_FORMAT = 'sae-pipe-activation-stream';
export const STREAM_VERSION = 1;

/** Key of the header in the metadata of the stream's Arrow schema. */
export const HEADER_KEY = 'sae-pipe';

const headerSchema = manifestSchema
  .pick({
    model: true,
    hook: true,
    d_in: true,
    dtype: true,
    precision: true,
    context: true,
    bos_token_id: true,
    prepend_bos: true,
    exclude_special_tokens: true,
    corpus: true,
    text_field: true,
    encoding: true,
    seed: true,
    batch: true,
    window_batches: true,
  })
  .extend({
    format: z.literal(STREAM_FORMAT),
    version: z.literal(STREAM_VERSION),
    /** Rows that come. */
    rows: z.number().int().positive(),
    /** Rows of a record batch, at most. */
    rows_per_batch: z.number().int().positive(),
  });

/** What a stream says of itself before its first row; keys are those of a store's manifest. */
export type StreamHeader = z.infer<typeof headerSchema>;

/** The header of a stream with the rows of the store that `manifest` begins. */
export function streamHeader(manifest: Manifest): StreamHeader {
  const { rows_wanted: rows, rows_per_shard: rows_per_batch, encoding, ...rest } = manifest;
  // A run is resumed by its header, and was begun without this where there was no choice.
  const other = encoding === undefined || encoding === 'utf-8' ? {} : { encoding };
  // Keys that only a store has are dropped by the schema.
  return headerSchema.parse({
    ...rest,
    ...other,
    format: STREAM_FORMAT,
    version: STREAM_VERSION,
    rows,
    rows_per_batch,
  });
}

/** The Arrow schema of the stream: columns of a shard, and the header as JSON in its metadata. */
export function streamSchema(header: StreamHeader): Schema {
  return rowsSchema(header.d_in, header.dtype, new Map([[HEADER_KEY, JSON.stringify(header)]]));
}

/**
 * The header in a stream's schema.
 *
 * @throws Refusal when it is none of ours, or of another version
 */
export function readHeader(schema: Schema, place: string): StreamHeader {
  const refused = (what: string) => new Refusal(`${place} ${what}.`, 'Feed it with `sae-pipe harvest … --out -`.');
  const json = schema.metadata.get(HEADER_KEY);
  if (json === undefined) throw refused(`is an Arrow stream without "${HEADER_KEY}" in its metadata`);
  let header: unknown;
  try {
    header = JSON.parse(json);
  } catch {
    throw refused('is an Arrow stream whose header is not JSON');
  }
  const { format, version } = (header ?? {}) as { format?: unknown; version?: unknown };
  if (format === STREAM_FORMAT && version !== STREAM_VERSION) {
    throw new Refusal(
      `${place} is a stream of format version ${JSON.stringify(version)}; this program reads version ${STREAM_VERSION}.`,
      'Let the same version of sae-pipe write and read it.',
    );
  }
  const parsed = headerSchema.safeParse(header);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw refused(`is an Arrow stream whose header is wrong at "${issue.path.join('.')}": ${issue.message}`);
}

/** A stream as training sees it before the first row. */
export function describeStream(header: StreamHeader, place: string): SourceDescription {
  const { model, hook, d_in, dtype, context, corpus, rows, exclude_special_tokens: excludedTokens } = header;
  const identity = createHash('sha256').update(JSON.stringify(header)).digest('hex');
  return {
    place,
    model,
    hook,
    dIn: d_in,
    dtype,
    context,
    corpus,
    rows,
    meanNorm: null,
    identity,
    ...(excludedTokens && { excludedTokens }),
  };
}
