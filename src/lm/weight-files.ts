import { join } from 'node:path';
import { z } from 'zod';
import { Refusal } from '../config/refusal.js';
import { exists } from '../disk/exists.js';
import { checkJson, readJsonFile } from '../disk/json-file.js';
import { readSafetensorsHeader, type TensorLocation } from '../safetensors/header.js';

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const AGAIN = 'Download the whole checkpoint again.';

/** A shard's name is data: it must not lead out of the checkpoint's directory. */
const PLAIN_NAME = /^[\w][\w.-]*\.safetensors$/;

/** Bytes of an index, at most: it has a line for each tensor. */
const MOST_INDEX = 2 ** 22;

const indexSchema = z.object({ weight_map: z.custom<object>((map) => map !== null && typeof map === 'object') });

/** Which file holds which tensor; not by a schema, which takes seconds for a long list. */
async function readMap(index: string): Promise<Map<string, string>> {
  const json = await readJsonFile(index, [`There is no file ${index}.`, AGAIN], AGAIN, MOST_INDEX);
  const entries = Object.entries(checkJson(indexSchema, json, index, AGAIN).weight_map);
  const odd = entries.find(([, file]) => typeof file !== 'string');
  if (odd) throw new Refusal(`${index}: weight_map.${odd[0]}: expected the name of a file.`, AGAIN);
  return new Map(entries);
}

/** The weights of a checkpoint: its files, in the order of their names, and every tensor of all of them. */
export interface WeightFiles {
  readonly paths: readonly string[];
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** What to call them in messages: the file, or the index of the shards. */
  readonly label: string;
}

/**
 * Reads the headers of a checkpoint's weights: model.safetensors, or else the shards of model.safetensors.index.json.
 *
 * @throws Refusal when a file is missing or broken, or the index names what is not there
 */
export async function readWeightFiles(directory: string): Promise<WeightFiles> {
  const single = join(directory, SINGLE);
  if (await exists(single)) {
    const { tensors } = await readSafetensorsHeader(single);
    return { paths: [single], tensors, label: single };
  }
  const index = join(directory, INDEX);
  if (!(await exists(index))) {
    throw new Refusal(`${directory} has no ${SINGLE}.`, `Download the whole checkpoint; shards need their ${INDEX}.`);
  }
  const map = await readMap(index);
  const names = [...new Set(map.values())].sort();
  for (const name of names) {
    if (!PLAIN_NAME.test(name)) {
      throw new Refusal(
        `${index} names the file ${JSON.stringify(name)}, which is not a .safetensors file beside it.`,
        AGAIN,
      );
    }
  }
  if (names.length === 0) throw new Refusal(`${index} names no files.`, AGAIN);
  const tensors = new Map<string, TensorLocation>();
  for (const name of names) {
    const path = join(directory, name);
    if (!(await exists(path))) throw new Refusal(`${directory} lacks the shard ${name}.`, AGAIN);
    const shard = (await readSafetensorsHeader(path)).tensors;
    for (const [tensor, file] of map) {
      if (file !== name) continue;
      const location = shard.get(tensor);
      if (!location) throw new Refusal(`${path} lacks the tensor ${tensor} that ${INDEX} places there.`, AGAIN);
      tensors.set(tensor, location);
    }
  }
  return { paths: names.map((name) => join(directory, name)), tensors, label: index };
}
