import { z } from 'zod';

const role = z.string().regex(/^[A-Za-z][\w-]*$/, 'give roles, such as assistant');
const roleList = z.array(role).min(1).meta({ commas: true }).optional();

/** Roles whose tokens count, in commands that read conversations. */
export const trainingRoles = roleList.describe(
  'with --chat-field: roles whose tokens become activations, such as assistant; a list with commas; or all [default: all]',
);
export const evaluationRoles = roleList.describe(
  'with --chat-field: roles whose positions count, or all; other positions keep their clean activation [default: as the SAEs were trained]',
);
