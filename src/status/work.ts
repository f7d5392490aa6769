import type { Owner } from '../disk/lock-owner.js';

/** What a piece of work is: the command that does it. */
export type WorkKind = 'harvest' | 'train' | 'sweep' | 'eval' | 'features';

/**
 * How a piece of work stands. `running`: its lock is held; `stalled`: it is, and nothing has been written for long;
 * `waiting`: in Slurm's queue; `stopped`: not finished, and nobody works on it; `failed`: its job failed, or what it
 * wrote cannot be read.
 */
export type WorkState = 'finished' | 'running' | 'stalled' | 'waiting' | 'stopped' | 'failed';

/** A piece of work as its directory tells. */
export interface WorkStatus {
  readonly kind: WorkKind;
  readonly directory: string;
  readonly state: WorkState;
  /** How far it is, of `total` where that is known, in `unit`. */
  readonly done?: number;
  readonly total?: number;
  readonly unit?: 'row' | 'step' | 'SAE' | 'context';
  /** Rows, or activations that are trained on, a second. */
  readonly rate?: number;
  /** Seconds. */
  readonly left?: number;
  /** Whom the directory belongs to, or who left it without giving it up. */
  readonly owner?: Owner;
  /** Could it be told whether the owner is there? */
  readonly checked?: boolean;
  /** Why it failed. */
  readonly reason?: string;
  /** The command that continues it. */
  readonly resume?: string;
  /** The sweep that it is a part of. */
  readonly sweep?: string;
}

/** What a lock says of the state of work that is not finished. */
export function heldState(holder: { state: 'running' | 'gone' | 'unknown' } | undefined): 'running' | 'stopped' {
  return holder === undefined || holder.state === 'gone' ? 'stopped' : 'running';
}
