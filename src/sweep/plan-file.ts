import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { trainingCommandSchema } from '../config/flags.js';
import { readRegular } from '../disk/input-file.js';
import { checkJson, readJsonFile } from '../disk/json.js';
import { isLockFile } from '../disk/lock.js';
import { writeAside } from '../disk/output-file.js';

/** Name of the file in a sweep's --out that says what the sweep makes, so that others can tell how far it is. */
export const PLAN_FILE = 'sweep.json';

/** Bytes of it, at most: 10,000 names of directories. */
const LARGEST_PLAN = 2 ** 22;

const planSchema = z.object({
  format: z.literal('sae-pipe-sweep'),
  version: z.literal(1),
  /** Directories below OUT/saes. */
  saes: z.array(z.string()),
  /** Are they evaluated, and the evaluation drawn? */
  evaluated: z.boolean(),
  /** The command of the whole sweep; null where its file was a pipe. */
  command: trainingCommandSchema.nullable(),
});
export type SweepPlan = z.infer<typeof planSchema>;

/** Writes the plan of a sweep; several tasks of one sweep may do so at a time, and write the same. */
export async function writePlan(out: string, plan: Pick<SweepPlan, 'saes' | 'evaluated' | 'command'>): Promise<void> {
  const path = join(out, PLAN_FILE);
  const text = `${JSON.stringify({ format: 'sae-pipe-sweep', version: 1, ...plan }, null, 1)}\n`;
  if ((await readRegular(path, LARGEST_PLAN))?.toString('utf8') === text) return;
  await writeAside(path, text);
}

/** @throws Refusal where there is no plan of this program, or it is broken */
export async function readPlan(out: string): Promise<SweepPlan> {
  const path = join(out, PLAN_FILE);
  const again = 'Run the same sweep again.';
  const missing = [`${path} does not exist.`, again] as const;
  return checkJson(planSchema, await readJsonFile(path, missing, again, LARGEST_PLAN), path, again);
}

/** Removes the plan of a sweep that was refused before it made anything: it leaves nothing behind. */
export async function removeLonePlan(out: string): Promise<void> {
  const names = await readdir(out).catch((): string[] => []);
  if (names.every((name) => name === PLAN_FILE || isLockFile(name))) await rm(join(out, PLAN_FILE), { force: true });
}
