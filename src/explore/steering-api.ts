import type { TokenFeature } from './api.js';

// The JSON of a text that is continued with features changed, and of the features that made a token likely. Types and
// bounds only, as in api.ts.
//
//     POST api/steer                          SteerRequest → lines of SteerEvent
//     POST api/attribute                      AttributeRequest → lines of AttributeEvent
//
// Answers are application/x-ndjson: an event per line, as they happen. They end with `ended`, `attributed` or `failed`.
// Whoever closes the connection cancels what they asked for.

/** What is done to a feature: f becomes v (set), f + v (add), v · f (scale), or 0 (ablate). */
export const featureOperations = ['set', 'add', 'scale', 'ablate'] as const;
export type FeatureOperation = (typeof featureOperations)[number];

export interface FeatureChange {
  readonly feature: number;
  readonly operation: FeatureOperation;
  /** v; of ablate 0. */
  readonly strength: number;
}

/** Bounds of a request. */
export const MOST_CHANGES = 32;
export const MOST_STEERED_TOKENS = 512;
export const MOST_TEMPERATURE = 100;
export const MOST_SEED = 2 ** 32 - 1;
/** Tokens of the text, BOS included; the model's positions may be fewer. */
export const MOST_PROMPT_TOKENS = 2048;

/** POST api/steer. */
export interface SteerRequest {
  /** What is continued. */
  readonly text: string;
  readonly sae: string;
  /** 1 to MOST_CHANGES, of different features. */
  readonly changes: readonly FeatureChange[];
  /** Tokens after the text, at most. */
  readonly tokens: number;
  /** 0: the most probable token is taken. */
  readonly temperature: number;
  readonly seed: number;
}

/** Why a text ended: it has as many tokens as were asked for, or it ended itself. */
export type SteeredEnding = 'length' | 'end' | 'stop';

/** The text without the changes and the one with them. */
export interface Both<T> {
  readonly unsteered: T;
  readonly steered: T;
}

/** What waits for its turn: how many requests come first, and that in a sentence. */
export interface QueuedEvent {
  readonly kind: 'queued';
  readonly ahead: number;
  readonly says: string;
}

/** The model opens, which takes a while. */
export interface OpeningEvent {
  readonly kind: 'opening';
}

/** It could not be done, or not to its end. */
export interface FailedEvent {
  readonly kind: 'failed';
  readonly error: string;
  readonly remedy: string | null;
}

/** The text is read. */
export interface ReadingEvent {
  readonly kind: 'reading';
}

export type SteerEvent =
  | QueuedEvent
  | OpeningEvent
  | ReadingEvent
  /** Text of one more token of both, of which there are `tokens` now; a text that has ended adds nothing. */
  | ({ readonly kind: 'text'; readonly tokens: number } & Both<string>)
  | ({ readonly kind: 'ended' } & Both<SteeredEnding>)
  | FailedEvent;

/** Tokens up to the one after which a logit is attributed, at most: ablation needs a pass over them for each activation. */
export const MOST_ATTRIBUTED_TOKENS = 512;

/** POST api/attribute. */
export interface AttributeRequest {
  readonly text: string;
  readonly sae: string;
  /** Number of the token after which it is, BOS included. */
  readonly at: number;
  /** Whose logit is attributed: a token's id; null: that of the most probable one. */
  readonly token: number | null;
}

/** A token that may follow. */
export interface LikelyToken {
  readonly id: number;
  readonly token: string;
  readonly probability: number;
}

/** A feature at a token of the text, and what it does to the logit. */
export interface AttributedFeature extends Omit<TokenFeature, 'value'> {
  readonly position: number;
  /** Text of the token there. */
  readonly at: string;
  readonly activation: number;
  /** What it adds on the way past all blocks above; null where no linear path leads from the hook to the logits. */
  readonly direct: number | null;
  /** By gradient f · ∂logit/∂f; by ablation, by how much the logit falls when the feature alone is set to 0 at this token. */
  readonly effect: number;
}

/** What may follow, the most probable first, and whose logit is attributed: one of these. */
export interface NextEvent {
  readonly kind: 'next';
  readonly likely: readonly LikelyToken[];
  readonly token: number;
  readonly logit: number;
}

export interface AttributedEvent {
  readonly kind: 'attributed';
  /** How effects were computed. */
  readonly method: 'gradient' | 'ablation';
  /** Why not by gradient, a sentence. */
  readonly remark: string | null;
  /** Those with the largest effects, the largest first. */
  readonly features: readonly AttributedFeature[];
  /** Activations whose effects were computed, and weaker ones whose were not. */
  readonly examined: number;
  readonly leftOut: number;
}

export type AttributeEvent =
  | QueuedEvent
  | OpeningEvent
  | ReadingEvent
  | NextEvent
  /** How many activations of how many are ablated so far; not reported by gradient. */
  | { readonly kind: 'ablated'; readonly done: number; readonly of: number }
  | AttributedEvent
  | FailedEvent;
