// The JSON of a text that is continued with features changed. Types and bounds only, as in api.ts.
//
//     POST api/steer                          SteerRequest → lines of SteerEvent
//
// The answer is application/x-ndjson: an event per line, as they happen. It ends with `ended` or `failed`. Whoever closes
// the connection cancels what they asked for.

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

export type SteerEvent =
  | QueuedEvent
  | OpeningEvent
  /** The text is read. */
  | { readonly kind: 'reading' }
  /** Text of one more token of both, of which there are `tokens` now; a text that has ended adds nothing. */
  | ({ readonly kind: 'text'; readonly tokens: number } & Both<string>)
  | ({ readonly kind: 'ended' } & Both<SteeredEnding>)
  | FailedEvent;
