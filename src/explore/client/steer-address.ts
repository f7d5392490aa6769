import {
  type FeatureChange,
  type FeatureOperation,
  featureOperations,
  MOST_CHANGES,
  MOST_SEED,
  MOST_STEERED_TOKENS,
  MOST_TEMPERATURE,
} from '../steering-api.js';

/** Steering settings: the changes, and how the text is continued. */
export interface SteerPlace {
  readonly changes: readonly FeatureChange[];
  readonly tokens: number;
  readonly temperature: number;
  readonly seed: number;
}

/** No changes. */
export const UNSTEERED: SteerPlace = { changes: [], tokens: 48, temperature: 0, seed: 0 };

/** The numbers of a SteerPlace in an address, by name, with their bounds. */
export const STEER_NUMBERS = [
  { key: 'tokens', least: 1, most: MOST_STEERED_TOKENS, whole: true },
  { key: 'temperature', least: 0, most: MOST_TEMPERATURE, whole: false },
  { key: 'seed', least: 0, most: MOST_SEED, whole: true },
] as const;
export type SteerNumber = (typeof STEER_NUMBERS)[number];

/** The number in a text; null if it is invalid or out of bounds. */
export function numberIn(text: string, { least, most, whole }: Omit<SteerNumber, 'key'>): number | null {
  const value = strengthIn(text);
  return value === null || value < least || value > most || (whole && !Number.isInteger(value)) ? null : value;
}

/** The strength in a text; null if it is not a number that the model can take. */
export function strengthIn(text: string): number | null {
  const value = text.trim() === '' ? Number.NaN : Number(text.replace('−', '-'));
  return Number.isFinite(Math.fround(value)) ? value : null;
}

/** Adds all non-default settings: changes as set=17_8&ablate=5. */
export function putSteering(parameters: URLSearchParams, steer: SteerPlace): void {
  for (const { feature, operation, strength } of steer.changes) {
    parameters.append(operation, operation === 'ablate' ? String(feature) : `${feature}_${strength}`);
  }
  for (const { key } of STEER_NUMBERS) if (steer[key] !== UNSTEERED[key]) parameters.set(key, String(steer[key]));
}

/** The settings in URL parameters; invalid ones get their defaults. */
export function steeringIn(parameters: URLSearchParams): SteerPlace {
  const changes = new Map<number, FeatureChange>();
  for (const [key, value] of parameters) {
    const operation = featureOperations.find((one) => one === key);
    const change = operation && changeIn(operation, value);
    if (change && !changes.has(change.feature) && changes.size < MOST_CHANGES) changes.set(change.feature, change);
  }
  const numbers = STEER_NUMBERS.map((bounds) => {
    const given = parameters.get(bounds.key);
    return [bounds.key, (given === null ? null : numberIn(given, bounds)) ?? UNSTEERED[bounds.key]];
  });
  return { ...UNSTEERED, ...Object.fromEntries(numbers), changes: [...changes.values()] };
}

function changeIn(operation: FeatureOperation, text: string): FeatureChange | null {
  const [, digits, written] = /^(\d{1,9})(?:_(.+))?$/.exec(text) ?? [];
  const strength = operation === 'ablate' ? 0 : strengthIn(written ?? '');
  if (digits === undefined || strength === null) return null;
  return { feature: Number(digits), operation, strength };
}
