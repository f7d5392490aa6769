import { z } from 'zod';

const role = z.string().regex(/^[A-Za-z][\w-]*$/, 'say roles, such as assistant');
const roleList = z.array(role).min(1).meta({ commas: true }).optional();

/** Whose tokens count, of commands that read conversations. */
export const trainingRoles = roleList.describe(
  'roles whose tokens become activations, with --chat-field: assistant, or a list with commas; all [default: all]',
);
export const evaluationRoles = roleList.describe(
  'roles whose positions count, with --chat-field; the others keep their clean activation; all [default: as the SAEs were trained]',
);
