import type { Rows } from '../activations/arrow-files.js';
import type { TextRead } from '../activations/source.js';
import type { StreamHeader } from '../activations/stream-header.js';
import { Refusal, UsageRefusal } from '../config/refusal.js';
import type { HarvestConfig } from '../config/stages.js';
import type { MemoryParts } from '../progress/memory-line.js';

/** What the worker is started with. */
export interface LiveStart {
  readonly config: HarvestConfig;
  /** The model's directory. */
  readonly model: string;
}

export type Request =
  /** Begins the harvest; windows that end at or before row `skip` are left out. */
  | { readonly kind: 'begin'; readonly seed: number; readonly skip: number }
  /** Asks for the next window, and may be sent once the one before has been let go of. */
  | { readonly kind: 'window' }
  /** Ends the thread, after the forward pass under way. */
  | { readonly kind: 'close' };

export type Reply =
  /** Model and corpus are open. */
  | { readonly kind: 'ready'; readonly header: StreamHeader; readonly memory: MemoryParts }
  /** The text of the rows that were left out. */
  | { readonly kind: 'begun'; readonly skipped: TextRead }
  /** Rows of the window asked for, in the order in which they are to be dealt. Their memory changes hands. */
  | { readonly kind: 'piece'; readonly rows: Rows }
  /** After the last piece of a window: SHA-256 of the text up to there. */
  | { readonly kind: 'whole'; readonly text: string }
  /** There is no further window. */
  | { readonly kind: 'end' }
  | { readonly kind: 'say'; readonly line: string }
  | { readonly kind: 'refused'; readonly message: string; readonly remedy?: string; readonly exitCode: 1 | 2 };

/** A refusal as it crosses between threads, where errors lose what they are. */
export function refusedReply({ message, remedy, exitCode }: Refusal): Reply {
  return { kind: 'refused', message, remedy, exitCode };
}

export function refusalFrom({ message, remedy, exitCode }: Reply & { readonly kind: 'refused' }): Refusal {
  return exitCode === 2 ? new UsageRefusal(message, remedy) : new Refusal(message, remedy);
}

/** Memory of rows, to be handed over. */
export function buffersOf({ activation, token, context, pos }: Rows): ArrayBuffer[] {
  return [activation, token, context, pos].map(({ buffer }) => buffer as ArrayBuffer);
}
