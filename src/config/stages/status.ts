import { z } from 'zod';
import { directory } from './shared-flags.js';

/** `status`: how the work below directories stands. */
export const statusSchema = z.object({
  directories: z
    .array(directory)
    .min(1)
    .default(['.'])
    .describe('directories of work, or directories with some below them'),
  json: z.boolean().default(false).describe('print every number as JSON, one object'),
});
