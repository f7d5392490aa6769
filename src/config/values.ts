// Allowed values of enum flags.

/** Element types of activations on disk. */
export const activationDTypes = ['float16', 'bfloat16', 'float32'] as const;
/** Precisions of the model's matrix products. */
export const precisions = ['auto', 'float32', 'bfloat16', 'float16'] as const;
/** How training steps are computed, train/engines/. */
export const engines = ['auto', 'sparse', 'reference', 'cuda'] as const;
/** Precisions of the CUDA engine's encoder product. */
export const enginePrecisions = ['float32', 'tf32', 'bfloat16'] as const;

/** Published results that a report can show next to its own. */
export const references = ['paper-gemma-7b'] as const;

/** Figures that `figure` draws. */
export const figureNames = ['jump-relu', 'paper-gemma-7b', 'pareto', 'shrinkage'] as const;

/** Encodings of .txt and .jsonl corpora, corpus/encodings.ts. */
export const encodings = ['utf-8', 'utf-16', 'utf-16le', 'utf-16be', 'latin-1', 'windows-1252'] as const;
export type Encoding = (typeof encodings)[number];

/** Format of text without a file extension, corpus/standard-input.ts. */
export const corpusFormats = ['jsonl', 'txt', 'csv', 'tsv'] as const;
export type CorpusFormat = (typeof corpusFormats)[number];

/** Element types of token ids without a header, corpus/ids/arrays.ts. */
export const idsDTypes = ['uint16', 'uint32'] as const;
export type IdsDType = (typeof idsDTypes)[number];

/** Decimal suffixes, as papers and tools write counts. No lowercase m: some read it as milli. */
const DECIMAL_POWERS: Readonly<Record<string, number>> = { k: 3, K: 3, M: 6, G: 9, B: 9, T: 12 };
/** Binary suffixes. */
const BINARY_POWERS: Readonly<Record<string, number>> = { Ki: 10, ki: 10, Mi: 20, Gi: 30, Ti: 40 };

/** Accepted ways of writing numbers, for messages. */
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
  // An exponent and a suffix together (1e3k) is surely a mistake.
  if (exponent !== undefined && suffix !== undefined) return undefined;
  const digits = `${sign}${whole?.replaceAll('_', '') ?? '0'}.${fraction ?? '0'}`;
  const power = DECIMAL_POWERS[suffix ?? ''] ?? exponent ?? 0;
  // The exponent is added as text, so that 1.005k is 1005 and not 1004.9999999999999.
  const value = Number(`${digits}e${power}`) * 2 ** (BINARY_POWERS[suffix ?? ''] ?? 0);
  return Number.isFinite(value) ? value : undefined;
}
