import { type LockSeen, lookAtLock } from '../disk/lock.js';
import { jobOfOwner, type Owner, ownerState } from '../disk/lock-owner.js';
import type { JobStanding } from '../machine/slurm-jobs.js';

/** Is the process that a lock names there? `unknown` where that cannot be told from here. */
export type OwnerState = 'running' | 'gone' | 'unknown';

/** Who has a directory. */
export interface Holder extends LockSeen {
  readonly state: OwnerState;
}

/** What Slurm said of a job is good for so long (milliseconds). */
const FRESH = 60_000;
/** A Slurm that took longer than this to answer is left alone for as long as an answer is good (milliseconds). */
const SLOW = 5000;

/** Looks at locks, and asks Slurm of the jobs in them: of each once in a while, and not while it answers slowly. */
export class Owners {
  private readonly asked = new Map<string, { at: number; standing: JobStanding }>();
  private quietUntil = 0;

  /** @param now a clock in milliseconds that is never set back */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** @returns undefined where nobody has the directory, and nobody has left it without giving it up */
  async of(directory: string): Promise<Holder | undefined> {
    const seen = await lookAtLock(directory);
    if (seen === undefined) return undefined;
    if (seen.owner === undefined) return { ...seen, state: 'unknown' };
    const state = ownerState(seen.owner);
    if (state !== 'unknown') return { ...seen, state };
    const standing = await this.standing(seen.owner);
    return { ...seen, state: standing === 'over' ? 'gone' : standing === 'alive' ? 'running' : 'unknown' };
  }

  private async standing(owner: Owner): Promise<JobStanding> {
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
