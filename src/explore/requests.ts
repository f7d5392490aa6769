import { z } from 'zod';
import { NotTaken } from '../http/json-body.js';
import { type LabelRequest, MOST_LABEL, MOST_NOTE, MOST_TRIED_TEXT, type TextRequest } from './api.js';
import type { ExploredFolder, ExploredSae } from './explorer.js';
import {
  type AttributeRequest,
  featureOperations,
  MOST_ATTRIBUTED_TOKENS,
  MOST_CHANGES,
  MOST_SEED,
  MOST_STEERED_TOKENS,
  MOST_TEMPERATURE,
  type SteerRequest,
} from './steering-api.js';

// Validates requests of the pages: only known keys, within bounds, and referring to what the folder contains.

type Saes = ExploredFolder['saes'];

const feature = z.number().int().nonnegative();
const text = z.string().min(1).max(MOST_TRIED_TEXT);

const STRENGTH = 'not a number within the range of float32';

const labelRequest = z.strictObject({
  sae: z.string(),
  feature,
  label: z.string().max(MOST_LABEL).nullable(),
  note: z.string().max(MOST_NOTE).nullable(),
});

const textRequest = z.strictObject({
  text,
  saes: z.array(z.string()).min(1).max(1000).optional(),
  count: z.number().int().min(1).max(20).optional(),
  feature: z.strictObject({ sae: z.string(), feature }).optional(),
});

const steerRequest = z.strictObject({
  text,
  sae: z.string(),
  changes: z
    .array(
      z.strictObject({
        feature,
        operation: z.enum(featureOperations),
        strength: z.number(STRENGTH).refine((value) => Number.isFinite(Math.fround(value)), STRENGTH),
      }),
    )
    .min(1)
    .max(MOST_CHANGES),
  tokens: z.number().int().min(1).max(MOST_STEERED_TOKENS),
  temperature: z.number().min(0).max(MOST_TEMPERATURE),
  seed: z.number().int().min(0).max(MOST_SEED),
});

const attributeRequest = z.strictObject({
  text,
  sae: z.string(),
  at: z
    .number()
    .int()
    .min(0)
    .max(MOST_ATTRIBUTED_TOKENS - 1),
  token: z.number().int().nonnegative().nullable(),
});

/** @throws NotTaken, as all of these do */
export function labelRequestOf(body: unknown): LabelRequest {
  return checked(labelRequest, body);
}

export function textRequestOf(body: unknown, saes: Saes): TextRequest {
  const request = checked(textRequest, body);
  for (const name of request.saes ?? []) exploredSae(name, saes);
  if (request.feature) checkFeature(request.feature.sae, request.feature.feature, saes);
  return request;
}

export function steerRequestOf(body: unknown, saes: Saes): SteerRequest {
  const request = checked(steerRequest, body);
  const seen = new Set<number>();
  for (const { feature: one } of request.changes) {
    checkFeature(request.sae, one, saes);
    if (seen.has(one)) throw new NotTaken(400, `Feature ${one} is changed twice.`);
    seen.add(one);
  }
  return request;
}

export function attributeRequestOf(body: unknown, { saes, record }: ExploredFolder): AttributeRequest {
  const request = checked(attributeRequest, body);
  exploredSae(request.sae, saes);
  const { vocabulary } = record.model;
  if (request.token !== null && request.token >= vocabulary)
    throw new NotTaken(404, `The model has no token ${request.token}: its vocabulary has ${vocabulary}.`);
  return request;
}

function exploredSae(name: string, saes: Saes): ExploredSae {
  const sae = saes.get(name);
  if (!sae) throw new NotTaken(404, 'There is no SAE of that name.');
  return sae;
}

export function checkFeature(name: string, one: number, saes: Saes): ExploredSae {
  const sae = exploredSae(name, saes);
  if (one >= sae.record.d_sae) throw new NotTaken(404, `${name} has no feature ${one}.`);
  return sae;
}

function checked<S extends z.ZodType>(schema: S, body: unknown): z.infer<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new NotTaken(400, `${issue.path.join('.') || 'The body'}: ${issue.message}.`);
}
