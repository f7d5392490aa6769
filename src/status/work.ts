import type { Owner } from '../disk/lock-owner.js';

/** The kind of a piece of work: the command that does it. */
export type WorkKind = 'harvest' | 'train' | 'sweep' | 'eval' | 'features';

/**
 * State of a piece of work. `running`: its lock is held; `stalled`: it is, but nothing has been written for long;
 * `waiting`: in Slurm's queue; `stopped`: unfinished, without an owner; `failed`: its job failed, or what it
 * wrote cannot be read.
 */
export type WorkState = 'finished' | 'running' | 'stalled' | 'waiting' | 'stopped' | 'failed';

/** The status of a piece of work, derived from its directory. */
export interface WorkStatus {
  readonly kind: WorkKind;
  readonly directory: string;
  readonly state: WorkState;
  /** Progress, out of `total` if that is known, in `unit`. */
  readonly done?: number;
  readonly total?: number;
  readonly unit?: 'row' | 'step' | 'SAE' | 'context';
  /** Rows, or activations trained on, per second. */
  readonly rate?: number;
  /** Estimated seconds left. */
  readonly left?: number;
  /** The owner of the directory, or a dead process that left its lock. */
  readonly owner?: Owner;
  /** Was it possible to check whether the owner is running? */
  readonly checked?: boolean;
  /** Why it failed. */
  readonly reason?: string;
  /** The command that resumes it. */
  readonly resume?: string;
  /** The sweep that it belongs to. */
  readonly sweep?: string;
}

/** State of unfinished work, judged by its lock. */
export function heldState(holder: { state: 'running' | 'gone' | 'unknown' } | undefined): 'running' | 'stopped' {
  return holder === undefined || holder.state === 'gone' ? 'stopped' : 'running';
}
