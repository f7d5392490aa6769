import { type LockSeen, lookAtLock } from '../disk/lock.js';
import { jobOfOwner, type Owner, ownerState } from '../disk/lock-owner.js';
import type { JobState } from '../machine/slurm-jobs.js';

/** Is the process named in a lock running? `unknown` if that cannot be determined from here. */
export type OwnerState = 'running' | 'gone' | 'unknown';

/** The owner of a directory. */
export interface Holder extends LockSeen {
  readonly state: OwnerState;
}

/** How long Slurm's answer about a job stays valid (milliseconds). */
const FRESH = 60_000;
/**
 * If Slurm took longer than this to answer, it is not queried again for as long as an answer is valid (milliseconds).
 */
const SLOW = 5000;

/** Reads locks, and queries Slurm about the jobs in them: rarely for each, and not while it answers slowly. */
export class Owners {
  private readonly asked = new Map<string, { at: number; standing: JobState }>();
  private quietUntil = 0;

  /** @param now a clock in milliseconds that is never set back */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** @returns undefined if the directory has no lock, not even a dead process's */
  async of(directory: string): Promise<Holder | undefined> {
    const seen = await lookAtLock(directory);
    if (seen === undefined) return undefined;
    if (seen.owner === undefined) return { ...seen, state: 'unknown' };
    const state = ownerState(seen.owner);
    if (state !== 'unknown') return { ...seen, state };
    const standing = await this.standing(seen.owner);
    return { ...seen, state: standing === 'over' ? 'gone' : standing === 'alive' ? 'running' : 'unknown' };
  }

  private async standing(owner: Owner): Promise<JobState> {
    if (owner.job === undefined) return 'unknown';
    const key = `${owner.job.cluster} ${owner.job.id}`;
    const before = this.asked.get(key);
    const began = this.now();
    if (before !== undefined && began - before.at < FRESH) return before.standing;
    if (began < this.quietUntil) return 'unknown';
    const standing = await jobOfOwner(owner);
    const at = this.now();
    if (at - began > SLOW) this.quietUntil = at + FRESH;
    this.asked.set(key, { at, standing });
    return standing;
  }
}
