import type { TokenFeature } from './api.js';

// The JSON of steering and attribution. Types and bounds only, like api.ts.
//
//     POST api/steer                          SteerRequest → lines of SteerEvent
//     POST api/attribute                      AttributeRequest → lines of AttributeEvent
//
// Responses are application/x-ndjson: one event per line, as they happen. They end with `ended`, `attributed` or
// `failed`. Closing the connection cancels the request.

/** The operation on a feature: f becomes v (set), f + v (add), v · f (scale), or 0 (ablate). */
export const featureOperations = ['set', 'add', 'scale', 'ablate'] as const;
export type FeatureOperation = (typeof featureOperations)[number];

export interface FeatureChange {
  readonly feature: number;
  readonly operation: FeatureOperation;
  /** v; 0 for ablate. */
  readonly strength: number;
}

/** Limits of a request. */
export const MOST_CHANGES = 32;
export const MOST_STEERED_TOKENS = 512;
export const MOST_TEMPERATURE = 100;
export const MOST_SEED = 2 ** 32 - 1;
/** Max tokens of the text, BOS included; the model may have fewer positions. */
export const MOST_PROMPT_TOKENS = 2048;

/** POST api/steer. */
export interface SteerRequest {
  /** The text to continue. */
  readonly text: string;
  readonly sae: string;
  /** 1 to MOST_CHANGES, for different features. */
  readonly changes: readonly FeatureChange[];
  /** Max tokens after the text. */
  readonly tokens: number;
  /** 0: always the most probable token. */
  readonly temperature: number;
  readonly seed: number;
}

/** Why a text ended: it reached the maximum number of tokens, or the model ended it. */
export type SteeredEnding = 'length' | 'end' | 'stop';

/** Something for the text without the changes, and for the one with them. */
export interface Both<T> {
  readonly unsteered: T;
  readonly steered: T;
}

/** Waiting for the model: the number of requests ahead, also as a sentence. */
export interface QueuedEvent {
  readonly kind: 'queued';
  readonly ahead: number;
  readonly says: string;
}

/** The model is being opened, which takes a while. */
export interface OpeningEvent {
  readonly kind: 'opening';
}

/** The request failed, or could not be completed. */
export interface FailedEvent {
  readonly kind: 'failed';
  readonly error: string;
  readonly remedy: string | null;
}

/** The text is being read. */
export interface ReadingEvent {
  readonly kind: 'reading';
}

export type SteerEvent =
  | QueuedEvent
  | OpeningEvent
  | ReadingEvent
  /** Text of one more token of both, now `tokens` long; a text that has ended adds nothing. */
  | ({ readonly kind: 'text'; readonly tokens: number } & Both<string>)
  | ({ readonly kind: 'ended' } & Both<SteeredEnding>)
  | FailedEvent;

/** Max tokens up to the predicting one: ablation needs a pass over them for each activation. */
export const MOST_ATTRIBUTED_TOKENS = 512;

/** POST api/attribute. */
export interface AttributeRequest {
  readonly text: string;
  readonly sae: string;
  /** Number of the predicting token, BOS included. */
  readonly at: number;
  /** The token id whose logit is attributed; null: the most probable one. */
  readonly token: number | null;
}

/** A candidate next token. */
export interface LikelyToken {
  readonly id: number;
  readonly token: string;
  readonly probability: number;
}

/** A feature at a token of the text, and its effect on the logit. */
export interface AttributedFeature extends Omit<TokenFeature, 'value'> {
  readonly position: number;
  /** Text of that token. */
  readonly at: string;
  readonly activation: number;
  /**
   * Its contribution on the path that skips all blocks above; null if there is no linear path from the hook to the
   * logits.
   */
  readonly direct: number | null;
  /**
   * By gradient f · ∂logit/∂f; by ablation, the decrease of the logit when only this feature is set to 0 at this token.
   */
  readonly effect: number;
}

/** The next-token predictions, most probable first, and the one whose logit is attributed. */
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
  /** Why not by gradient, as a sentence. */
  readonly remark: string | null;
  /** Those with the largest effects, in descending order. */
  readonly features: readonly AttributedFeature[];
  /** Number of activations whose effects were computed, and of weaker ones that were skipped. */
  readonly examined: number;
  readonly leftOut: number;
}

export type AttributeEvent =
  | QueuedEvent
  | OpeningEvent
  | ReadingEvent
  | NextEvent
  /** Number of activations ablated so far, and in total; not sent for gradients. */
  | { readonly kind: 'ablated'; readonly done: number; readonly of: number }
  | AttributedEvent
  | FailedEvent;
