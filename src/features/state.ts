import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type GivenCommand, givenCommand } from '../config/flags.js';
import { parseJson } from '../disk/json.js';
import { writtenAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';
import {
  readSafetensorsHeader,
  type SafetensorsDType,
  type TensorLocation,
  type TensorToWrite,
  writeSafetensors,
} from '../safetensors/file.js';
import { readTensorBytes } from '../safetensors/floats.js';
import type { Collection } from './collection.js';

// A collection on disk, from which a run can resume. It is in --out, named by the number of contexts done, in a single
// file that is written atomically.

const fileOf = (contexts: number) => `state-${String(contexts).padStart(10, '0')}.safetensors`;

/** Is this the name of a state? */
export const isState = (name: string): boolean => /^state-\d{10}\.safetensors$/.test(name);

const START_AGAIN = 'Start again with --overwrite.';

type Numbers = Float64Array | Float32Array | Uint32Array | Int32Array | Uint16Array | Int16Array | Uint8Array;

const DTYPES: Readonly<Record<string, SafetensorsDType>> = {
  Float64Array: 'F64',
  Float32Array: 'F32',
  Uint32Array: 'U32',
  Int32Array: 'I32',
  Uint16Array: 'U16',
  Int16Array: 'I16',
  Uint8Array: 'U8',
};

const digits = z.coerce.number().int().nonnegative();
const metadataSchema = z.object({
  /** JSON of what a resumed run must share. */
  identity: z.string(),
  tokens: digits,
  contexts: digits,
  text_sha256: z.string(),
  /** JSON: for each SAE, is its co-firing sample full? */
  full: z.string(),
  /** JSON: for each SAE, the number of positions left out because of their norm; none if the key is missing. */
  left_out: z.string().default('[]'),
  /** JSON of the command that resumes it. */
  command: z.string().optional(),
  /** SHA-256 of all arrays, concatenated. */
  sha256: z.string(),
});

/** Arrays of a collection by their name in the file: SAE, features file, array. */
function* arraysOf({ saes }: Collection): Generator<[name: string, array: Numbers]> {
  for (const [k, { tallies, sample }] of saes.entries()) {
    for (const [i, tally] of tallies.entries()) {
      for (const [name, array] of Object.entries(tally.arrays())) yield [`${k}/${i}/${name}`, array];
    }
    for (const [name, array] of Object.entries(sample.arrays())) yield [`${k}/cofiring/${name}`, array as Numbers];
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Numbers) => new Uint8Array(buffer, byteOffset, byteLength);

function digestOf(collection: Collection): string {
  const hash = createHash('sha256');
  for (const [, array] of arraysOf(collection)) hash.update(bytesOf(array));
  return hash.digest('hex');
}

/**
 * Writes a state and removes earlier ones.
 *
 * @param command the command that resumes it
 */
export async function writeState(
  directory: string,
  collection: Collection,
  identity: string,
  command?: GivenCommand,
): Promise<void> {
  const { tokens, contexts, textDigest, saes } = collection;
  const tensors = [...arraysOf(collection)].map(([name, array]): TensorToWrite => {
    return { name, dtype: DTYPES[array.constructor.name]!, shape: [array.length], bytes: bytesOf(array) };
  });
  const metadata: z.input<typeof metadataSchema> = {
    identity,
    tokens: String(tokens),
    contexts: String(contexts.length),
    text_sha256: textDigest,
    full: JSON.stringify(saes.map(({ sample }) => sample.full)),
    left_out: JSON.stringify(saes.map(({ leftOut }) => leftOut)),
    ...(command && { command: JSON.stringify(command) }),
    sha256: digestOf(collection),
  };
  const file = fileOf(contexts.length);
  await writeSafetensors(join(directory, file), tensors, metadata as Record<string, string>);
  await removeStates(directory, file);
}

/** Removes states, including partially written ones of a killed run. */
export async function removeStates(directory: string, keep?: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (isState(writtenAside(name) ?? name) && name !== keep) await rm(join(directory, name), { force: true });
  }
}

/** A state that was found. */
export interface FoundState {
  readonly path: string;
  readonly identity: string;
  readonly contexts: number;
  readonly textDigest: string;
  /** The command that resumes it, if recorded. */
  readonly command?: GivenCommand;
  /** Fills a collection; its contexts must then be added as text. */
  readInto(collection: Collection): Promise<void>;
}

/**
 * The newest state in a directory; undefined if there is none. Only its header has been read.
 *
 * @throws Refusal if it is not a state
 */
export async function findState(directory: string): Promise<FoundState | undefined> {
  const names = (await readdir(directory).catch((): string[] => [])).filter(isState).sort();
  const name = names.at(-1);
  if (name === undefined) return undefined;
  const path = join(directory, name);
  const { metadata, tensors } = await readSafetensorsHeader(path);
  const parsed = metadataSchema.safeParse(metadata);
  if (!parsed.success || name !== fileOf(parsed.data.contexts)) throw broken(path, 'is not a state of sae-pipe');
  const { identity, tokens, contexts, text_sha256: textDigest, full, left_out, sha256 } = parsed.data;
  const readInto = async (collection: Collection) => {
    collection.tokens = tokens;
    const flags = z.array(z.boolean()).safeParse(parsedOr(path, full));
    if (!flags.success || flags.data.length !== collection.saes.length) throw broken(path, 'contradicts itself');
    const leftOut = z.array(z.number().int().nonnegative()).safeParse(parsedOr(path, left_out));
    if (!leftOut.success) throw broken(path, 'contradicts itself');
    for (const [k, sae] of collection.saes.entries()) sae.leftOut = leftOut.data[k] ?? 0;
    await readTallies(path, tensors, collection);
    for (const [k, { sample }] of collection.saes.entries()) {
      const read = (array: string) => readNumbers(path, tensors, `${k}/cofiring/${array}`);
      const [features, values, ends] = [await read('features'), await read('values'), await read('ends')];
      const typed = features instanceof Int32Array && values instanceof Float32Array && ends instanceof Uint32Array;
      if (!typed) throw broken(path, 'contradicts itself');
      sample.restore({ features, values, ends }, flags.data[k]!);
    }
    if (digestOf(collection) !== sha256) throw broken(path, 'is damaged');
  };
  const command = givenCommand.safeParse(parsedOr(path, parsed.data.command ?? 'null')).data;
  return { path, identity, contexts, textDigest, ...(command && { command }), readInto };
}

async function readTallies(
  path: string,
  tensors: ReadonlyMap<string, TensorLocation>,
  { saes }: Collection,
): Promise<void> {
  for (const [k, { tallies }] of saes.entries()) {
    for (const [i, tally] of tallies.entries()) {
      const [first] = await readNumbers(path, tensors, `${k}/${i}/histogramFirst`);
      const entries = tensors.get(`${k}/${i}/histogram`)?.shape[0] ?? 0;
      if (entries % tally.features !== 0) throw broken(path, 'contradicts itself');
      tally.shapeHistograms(first ?? 0, entries);
      for (const [name, array] of Object.entries(tally.arrays())) {
        const read = await readNumbers(path, tensors, `${k}/${i}/${name}`);
        if (read.constructor !== array.constructor || read.length !== array.length) {
          throw broken(path, `has ${name} of the wrong size`);
        }
        array.set(read as never);
      }
    }
  }
}

async function readNumbers(path: string, tensors: ReadonlyMap<string, TensorLocation>, name: string): Promise<Numbers> {
  const location = tensors.get(name);
  if (!location) throw broken(path, `lacks ${name}`);
  const { buffer } = await readTensorBytes(location);
  switch (location.dtype) {
    case 'F64':
      return new Float64Array(buffer);
    case 'F32':
      return new Float32Array(buffer);
    case 'U32':
      return new Uint32Array(buffer);
    case 'I32':
      return new Int32Array(buffer);
    case 'U16':
      return new Uint16Array(buffer);
    case 'I16':
      return new Int16Array(buffer);
    case 'U8':
      return new Uint8Array(buffer);
    default:
      throw broken(path, `has ${name} of type ${location.dtype}`);
  }
}

function parsedOr(path: string, text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    throw broken(path, 'contradicts itself');
  }
}

const broken = (path: string, what: string) => new Refusal(`${path} ${what}.`, START_AGAIN, 'features/broken-state');
