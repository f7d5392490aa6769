// The words among which flags choose.

/** Element types of activations on disk. */
export const activationDTypes = ['float16', 'bfloat16', 'float32'] as const;
/** Element types in which a model multiplies matrices. */
export const precisions = ['auto', 'float32', 'bfloat16', 'float16'] as const;
/** How a step is computed, train/engines/. */
export const engines = ['auto', 'sparse', 'reference', 'cuda'] as const;
/** Precisions of the CUDA engine's encoder product. */
export const enginePrecisions = ['float32', 'tf32', 'bfloat16'] as const;

/** Published points that a report can be drawn next to. */
export const references = ['paper-gemma-7b'] as const;

/** Figures that `figure` draws. */
export const figureNames = ['jump-relu', 'paper-gemma-7b', 'pareto', 'shrinkage'] as const;

/** Encodings of .txt and .jsonl corpora, corpus/encodings.ts. */
export const encodings = ['utf-8', 'utf-16', 'utf-16le', 'utf-16be', 'latin-1', 'windows-1252'] as const;
export type Encoding = (typeof encodings)[number];

/** How text that comes without a file's ending is read, corpus/standard-input.ts. */
export const corpusFormats = ['jsonl', 'txt', 'csv', 'tsv'] as const;
export type CorpusFormat = (typeof corpusFormats)[number];

/** Element types of token ids without a header, corpus/ids/arrays.ts. */
export const idsDTypes = ['uint16', 'uint32'] as const;
export type IdsDType = (typeof idsDTypes)[number];

/** Powers of ten of a suffix, as papers and tools write counts. A small m would be a thousandth to some. */
const DECIMAL_POWERS: Readonly<Record<string, number>> = { k: 3, K: 3, M: 6, G: 9, B: 9, T: 12 };
/** Powers of two of a suffix. */
const BINARY_POWERS: Readonly<Record<string, number>> = { Ki: 10, ki: 10, Mi: 20, Gi: 30, Ti: 40 };

/** How numbers may be written, for messages. */
export const NUMBER_FORMS = '500000, 500_000, 500k, 0.5M, 5e5 or 512Ki';

const NUMBER_PATTERN = /^([+-]?)(\d+(?:_\d+)*)?(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?(k|K|M|G|B|T|Ki|ki|Mi|Gi|Ti)?$/;

/**
 * A number as people write it: 500000, 500_000, 1e6, 2.5k, 64Ki.
 *
 * @returns undefined for anything else, infinities included
 */
export function parseNumber(text: string): number | undefined {
  const [found, sign, whole, fraction, exponent, suffix] = NUMBER_PATTERN.exec(text.trim()) ?? [];
  if (found === undefined || (whole === undefined && fraction === undefined)) return undefined;
  // 1e3k can only be a slip.
  if (exponent !== undefined && suffix !== undefined) return undefined;
  const digits = `${sign}${whole?.replaceAll('_', '') ?? '0'}.${fraction ?? '0'}`;
  const power = DECIMAL_POWERS[suffix ?? ''] ?? exponent ?? 0;
  // The power of ten is part of the text, so that 1.005k is 1005 and not 1004.9999999999999.
  const value = Number(`${digits}e${power}`) * 2 ** (BINARY_POWERS[suffix ?? ''] ?? 0);
  return Number.isFinite(value) ? value : undefined;
}
