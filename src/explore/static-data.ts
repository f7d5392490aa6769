import { type FeatureColumns, numberColumns, tokenColumns } from './query.js';

// Paths and formats of the data of static pages. Runs in Node and in the browser.

/** Features per pack. */
export const PACKED = 64;

/** Texts of all tokens as a list, by id. */
export const VOCABULARY_PATH = 'data/vocabulary.json';

/**
 * The pack with a feature: a gzipped list of FeaturePage; if a server decompresses it in transit, it begins
 * differently.
 */
export const packPath = (sae: string, feature: number, packed = PACKED): string =>
  `data/${sae}/features/pack-${Math.floor(feature / packed)}.json.gz`;

/** Columns of a list, little-endian: float32 [features], or int32 [features × tokens]. */
const columnPath = (sae: string, column: string) => `data/${sae}/columns/${column}.bin`;

/** The column files, by path. */
export function columnFiles(sae: string, { numbers, tokens }: FeatureColumns): [path: string, bytes: Uint8Array][] {
  const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Int32Array) =>
    new Uint8Array(buffer, byteOffset, byteLength);
  return [
    ...numberColumns.map((name) => [columnPath(sae, name), bytesOf(numbers[name])] as [string, Uint8Array]),
    ...tokenColumns.map((name) => [columnPath(sae, name), bytesOf(tokens[name])] as [string, Uint8Array]),
  ];
}

/**
 * The columns from their files.
 *
 * @param bytesAt reads a file; called with the number of files read so far, and in total
 * @throws Error if a file does not have a value for every feature
 */
export async function columnsFromFiles(
  { name: sae, dSae: features }: { readonly name: string; readonly dSae: number },
  bytesAt: (path: string) => Promise<ArrayBuffer>,
  told: (done: number, total: number) => void = () => {},
): Promise<FeatureColumns> {
  const total = numberColumns.length + tokenColumns.length;
  let done = 0;
  const read = async (column: string): Promise<ArrayBuffer> => {
    const bytes = await bytesAt(columnPath(sae, column));
    if (bytes.byteLength === 0 || bytes.byteLength % (4 * features) !== 0)
      throw new Error(`${columnPath(sae, column)} does not have a value for every feature`);
    told(++done, total);
    return bytes;
  };
  const each = async <Name extends string, Values>(names: readonly Name[], as: (bytes: ArrayBuffer) => Values) => {
    const entries = await Promise.all(names.map(async (name) => [name, as(await read(name))] as const));
    return Object.fromEntries(entries) as Record<Name, Values>;
  };
  const [numbers, tokens] = await Promise.all([
    each(numberColumns, (bytes) => new Float32Array(bytes)),
    each(tokenColumns, (bytes) => new Int32Array(bytes)),
  ]);
  return { features, numbers, tokens };
}
