import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { partName, partNamed } from '../activations/find-stores.js';
import { MANIFEST_FILE } from '../activations/manifest.js';
import { type PartShape, rowsOfWindow } from '../activations/part-rows.js';
import { partInWords } from '../activations/store-parts.js';
import { rowsPerContext } from '../corpus/contexts.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { arrayTask } from '../machine/scheduler-job.js';

/** Part `index` of `of`, counted from 0. */
export interface HarvestPart {
  readonly index: number;
  readonly of: number;
}

/**
 * The part given by --shard: i/n; auto/n, with i from the array's task; or auto, if Slurm provides n too.
 *
 * @returns undefined if the harvest is not divided, as with 0/1
 * @throws UsageRefusal if there is no such part, or no scheduler provides it
 */
export function partOf(
  shard: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): HarvestPart | undefined {
  if (shard === undefined) return undefined;
  const [which, count] = shard.split('/');
  const part = which === 'auto' ? partOfTask(shard, count, environment) : { index: Number(which), of: Number(count) };
  if (part.index >= part.of) {
    throw new UsageRefusal(
      `--shard ${shard} is part ${part.index} of ${part.of}, but parts are counted from 0 to ${part.of - 1}.`,
      'Give the number of the part and the number of parts.',
      'harvest/no-such-part',
    );
  }
  return part.of === 1 ? undefined : part;
}

function partOfTask(shard: string, count: string | undefined, environment: NodeJS.ProcessEnv): HarvestPart {
  const task = arrayTask(environment);
  const of = count === undefined ? task?.of : Number(count);
  if (task && of !== undefined) return { index: task.index, of };
  throw new UsageRefusal(
    task
      ? `--shard ${shard}: ${task.scheduler} does not tell how many tasks there are${task.scheduler === 'Slurm' ? ', as this array is not 0 to n − 1' : ''}.`
      : `--shard ${shard}: this is not a task of an array (neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set).`,
    task ? 'Give it: --shard auto/n.' : 'Name the part: --shard i/n.',
    'harvest/no-task',
  );
}

/** Directory of the store of a hook: that of the part, if the harvest is divided. */
export const storeDirectory = (out: string, hook: string, part: HarvestPart | undefined): string =>
  part ? join(out, hook, partName(part)) : join(out, hook);

/**
 * Checks that a hook's directory contains no store next to parts, and no parts of another division: they could not be
 * read as intended.
 *
 * @throws Refusal
 */
export async function checkNeighbours(out: string, hook: string, part: HarvestPart | undefined): Promise<void> {
  const directory = join(out, hook);
  const names = await readdir(directory).catch((): string[] => []);
  const other = names.map(partNamed).find((found) => found && found.of !== (part?.of ?? 1));
  if (other) {
    throw new Refusal(
      `${directory} contains a part of ${other.of}, but this harvest is ${part ? `part ${partInWords(part)}` : 'not divided'}.`,
      part
        ? `Use --shard i/${other.of}, or another --out.`
        : 'Train on it with --activations, or choose another --out.',
      'harvest/other-parts',
    );
  }
  if (!part || !names.includes(MANIFEST_FILE)) return;
  throw new Refusal(
    `${directory} is a complete store, but this harvest is part ${partInWords(part)}.`,
    'Choose another --out, or omit --shard.',
    'harvest/other-parts',
  );
}

/**
 * Checks that there is a window for every part.
 *
 * @throws UsageRefusal if there may be fewer windows than parts
 */
export function checkEnoughWindows(manifest: PartShape): void {
  const { part, rows_wanted: wanted, batch, context, prepend_bos } = manifest;
  if (!part) return;
  const windows = Math.ceil(wanted / rowsOfWindow(manifest));
  if (windows >= part.of) return;
  const group = batch * rowsPerContext(context, prepend_bos);
  const groups = Math.floor(wanted / (part.of * group));
  const fewer = windows > 1 ? `, or ${windows} parts` : ', or one harvest';
  throw new UsageRefusal(
    `--shard divides a harvest by windows of about ${rowsOfWindow(manifest)} rows, but --tokens ${wanted} makes only ${windows} of them for ${part.of} parts.`,
    `Use ${groups > 0 ? `--window-rows ${groups * group}, in every part` : 'more --tokens'}${fewer}.`,
    'harvest/too-many-parts',
  );
}
