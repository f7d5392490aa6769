import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { trainingCommandSchema } from '../config/flags.js';
import { readRegular } from '../disk/input-file.js';
import { checkJson, readJsonFile } from '../disk/json.js';
import { isLockFile } from '../disk/lock.js';
import { writeAside } from '../disk/output-file.js';

/** Name of the file in a sweep's --out that lists its SAEs, from which others can determine its progress. */
export const PLAN_FILE = 'sweep.json';

/** Max bytes: 10,000 directory names. */
const LARGEST_PLAN = 2 ** 22;

const planSchema = z.object({
  format: z.literal('sae-pipe-sweep'),
  version: z.literal(1),
  /** Directories below OUT/saes. */
  saes: z.array(z.string()),
  /** Will they be evaluated, and the evaluation drawn? */
  evaluated: z.boolean(),
  /** The command of the whole sweep; null if its file was a pipe. */
  command: trainingCommandSchema.nullable(),
});
export type SweepPlan = z.infer<typeof planSchema>;

/** Writes the plan of a sweep; several tasks may do so concurrently, with the same contents. */
export async function writePlan(out: string, plan: Pick<SweepPlan, 'saes' | 'evaluated' | 'command'>): Promise<void> {
  const path = join(out, PLAN_FILE);
  const text = `${JSON.stringify({ format: 'sae-pipe-sweep', version: 1, ...plan }, null, 1)}\n`;
  if ((await readRegular(path, LARGEST_PLAN))?.toString('utf8') === text) return;
  await writeAside(path, text);
}

/** @throws Refusal if there is no plan written by sae-pipe, or it is damaged */
export async function readPlan(out: string): Promise<SweepPlan> {
  const path = join(out, PLAN_FILE);
  const again = 'Run the same sweep again.';
  const missing = [`${path} does not exist.`, again] as const;
  return checkJson(planSchema, await readJsonFile(path, missing, again, LARGEST_PLAN), path, again);
}

/** Removes the plan of a sweep that was refused before it made anything. */
export async function removeLonePlan(out: string): Promise<void> {
  const names = await readdir(out).catch((): string[] => []);
  if (names.every((name) => name === PLAN_FILE || isLockFile(name))) await rm(join(out, PLAN_FILE), { force: true });
}
