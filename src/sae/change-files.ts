import { z } from 'zod';
import { checkJson, readJsonFile } from '../disk/json.js';
import { type Change, type NamedSae, operations, saeNamed } from './feature-changes.js';

const REMEDY = 'A change is like {"feature": 17, "set": 8}, with set, add or scale and a number, or "ablate": true.';

const fileSchema = z
  .array(
    z
      .strictObject({
        sae: z.string().optional(),
        feature: z.number().int().nonnegative(),
        set: z.number().optional(),
        add: z.number().optional(),
        scale: z.number().optional(),
        ablate: z.literal(true).optional(),
      })
      .refine(
        (one) => operations.filter((name) => one[name] !== undefined).length === 1,
        'one operation belongs there',
      ),
  )
  .min(1);

/**
 * The changes that a JSON file asks for.
 *
 * @throws Refusal where there is no such file, or it holds something else; UsageRefusal where it names no SAE of these
 */
export async function readChangeFile(path: string, saes: readonly NamedSae[]): Promise<Change[]> {
  const json = await readJsonFile(path, [`There is no file ${path}.`, REMEDY, 'generate/no-changes-file'], REMEDY);
  return checkJson(fileSchema, json, path, REMEDY).map((one) => {
    const operation = operations.find((name) => one[name] !== undefined)!;
    const strength = operation === 'ablate' ? 0 : one[operation]!;
    return { sae: saeNamed(one.sae, saes), feature: one.feature, operation, strength };
  });
}
