import { z } from 'zod';
import { checkJson, readJsonFile, readTextFile } from '../disk/json.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { type Change, featureNamed, type NamedSae, operations, saeNamed } from './feature-changes.js';

const REMEDY = 'Write changes as {"feature": 17, "set": 8}, with set, add or scale and a number, or "ablate": true.';

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
        'expected exactly one operation',
      ),
  )
  .min(1);

/**
 * The changes in a JSON file.
 *
 * @throws Refusal if there is no such file, or its contents are invalid; UsageRefusal if it refers to an unknown SAE
 */
export async function readChangeFile(path: string, saes: readonly NamedSae[]): Promise<Change[]> {
  const missing = [`${path} does not exist.`, REMEDY, 'generate/no-changes-file'] as const;
  return changesOf(await readJsonFile(path, missing, REMEDY), path, saes);
}

function changesOf(json: unknown, path: string, saes: readonly NamedSae[]): Change[] {
  return checkJson(fileSchema, json, path, REMEDY).map((one) => {
    const operation = operations.find((name) => one[name] !== undefined)!;
    const strength = operation === 'ablate' ? 0 : one[operation]!;
    return { sae: saeNamed(one.sae, saes), feature: one.feature, operation, strength };
  });
}

const LINES = {
  ablate: 'Write one feature number per line, as 17, or SAE:17 if there are several SAEs; or a JSON list.',
  set: 'Write one feature and its value per line, as 17 8, or SAE:17 8 if there are several SAEs; or a JSON list.',
};

/**
 * The features listed in a file for one operation: one per line, with a value for `set`; or JSON, either feature
 * numbers to ablate, or changes as in readChangeFile. Empty lines and lines starting with # are skipped.
 *
 * @throws Refusal, or UsageRefusal for an unknown name, if it lists none or is invalid
 */
export async function readFeatureList(
  path: string,
  operation: 'ablate' | 'set',
  saes: readonly NamedSae[],
): Promise<Change[]> {
  const remedy = LINES[operation];
  const text = await readTextFile(path, remedy);
  if (text === null) throw new Refusal(`${path} does not exist.`, remedy, 'generate/no-changes-file');
  const changes = /^\s*[[{]/.test(text) ? await ofJson(path, operation, saes) : ofLines(text, path, operation, saes);
  if (changes.length === 0) throw new Refusal(`${path} lists no features.`, remedy, 'generate/no-change');
  return changes;
}

async function ofJson(path: string, operation: 'ablate' | 'set', saes: readonly NamedSae[]): Promise<Change[]> {
  const remedy = LINES[operation];
  const json = await readJsonFile(path, [`${path} does not exist.`, remedy, 'generate/no-changes-file'], remedy);
  if (operation === 'ablate' && Array.isArray(json) && json.every((one) => typeof one !== 'object')) {
    return json.map((one, i) => ({
      ...featureNamed(String(one), saes, `${path}, entry ${i + 1}:`),
      operation,
      strength: 0,
    }));
  }
  const changes = changesOf(json, path, saes);
  const other = changes.find((change) => change.operation !== operation);
  if (other === undefined) return changes;
  throw new UsageRefusal(
    `${path} has the operation ${other.operation} for feature ${other.feature}, but --${operation}-features only accepts ${operation}.`,
    remedy,
    'generate/operations',
  );
}

function ofLines(text: string, path: string, operation: 'ablate' | 'set', saes: readonly NamedSae[]): Change[] {
  return text.split('\n').flatMap((line, i): Change[] => {
    const words = line.trim();
    if (words === '' || words.startsWith('#')) return [];
    const where = `${path}:${i + 1}:`;
    if (operation === 'ablate') return [{ ...featureNamed(words, saes, where), operation, strength: 0 }];
    const [, name, value] = /^(.*\S)[\s,]+(\S+)$/.exec(words) ?? [];
    const strength = Number(value);
    if (name === undefined || !Number.isFinite(strength)) {
      throw new UsageRefusal(`${where} "${words}" is not a feature and a value.`, LINES.set, 'config/wrong-value');
    }
    return [{ ...featureNamed(name.replace(/,$/, ''), saes, where), operation, strength }];
  });
}
