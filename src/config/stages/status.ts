import { z } from 'zod';
import { directory } from './shared-flags.js';

/** `status`: the state of all work below the given directories. */
export const statusSchema = z.object({
  directories: z
    .array(directory)
    .min(1)
    .default(['.'])
    .describe('output directories of harvests, runs, sweeps and evaluations, or directories above them'),
  json: z.boolean().default(false).describe('print everything as one JSON object'),
});
