import { z } from 'zod';
import { writtenLayouts } from '../../sae/published/written-layouts.js';
import { directory } from './shared-flags.js';

const repository = /^[\w.-]+\/[\w.-]+$/;

/** `push`: an SAE or an activation store to the hub. */
export const pushSchema = z.object({
  what: directory.describe('directory or file of an SAE, or an activation store'),
  to: z
    .string()
    .min(1)
    .describe('repository on the Hugging Face hub, and folder in it: OWNER/REPO[/PATH]; for a store, a data set'),
  as: z
    .enum(writtenLayouts)
    .optional()
    .describe('layout to push, as convert writes it [default: the directory as it is, SAELens’s]'),
  evaluation: directory
    .optional()
    .describe('directory with an evaluation of this SAE, for eval.json and the card [default: none]'),
  license: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{0,63}$/, 'give a licence by the hub’s identifier, such as apache-2.0')
    .optional()
    .describe('licence in the card, by the hub’s identifier: apache-2.0, mit, cc-by-4.0, gemma, … [default: none]'),
  baseModel: z
    .string()
    .regex(repository, 'give OWNER/NAME of a hub model')
    .optional()
    .describe('hub model named in the card: OWNER/NAME [default: the one in cfg.json, if that is a hub name]'),
  revision: z.string().min(1).default('main').describe('branch to commit to'),
  message: z.string().min(1).max(200).optional().describe('commit title [default: "Add" and the name of the folder]'),
  create: z.boolean().default(false).describe('create the repository, and the branch, if it does not exist'),
  private: z.boolean().default(false).describe('with --create: make the repository private'),
  overwrite: z.boolean().default(false).describe('replace files in the repository that differ'),
  yes: z.boolean().default(false).describe('allow an upload of more than 1 GB'),
  dryRun: z.boolean().default(false).describe('print the list of files and the card, and upload nothing'),
});
export type PushConfig = z.output<typeof pushSchema>;
