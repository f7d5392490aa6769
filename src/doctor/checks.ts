import { Refusal } from '../config/refusal.js';
import { formatBytes } from '../disk/free-space.js';
import type { Provider } from './providers.js';

/** One thing that must fit another. */
export interface Check {
  /** What needs it, and what it needs: "harvest: memory". */
  readonly what: string;
  /** Bytes. */
  readonly needed: number;
  /** Bytes; null where it cannot be told. */
  readonly available: number | null;
  readonly fits: boolean;
  readonly remedy: string;
}

/** What of a report decides the exit code. */
export interface Verdict {
  readonly device: string;
  readonly providers: readonly Provider[];
  readonly checks: readonly Check[];
}

/** A need against what there is; what cannot be told is not held against it. */
export function check(what: string, needed: number, available: number | null, remedy: string): Check {
  return { what, needed, available, fits: available === null || needed <= available, remedy };
}

/**
 * Ends the command when its device cannot be used or something does not fit.
 *
 * @throws Refusal naming the first that does not
 */
export function requireFit({ device, providers, checks }: Verdict): void {
  const provider = providers.find(({ name }) => name === device.replace(/:.*/, ''));
  if (provider && !provider.available) {
    throw new Refusal(
      `Device ${device} cannot be used: ${provider.reasons[0]}.`,
      'Use --device cpu, or install what is missing.',
    );
  }
  const failed = checks.find(({ fits }) => !fits);
  if (!failed) return;
  throw new Refusal(
    `This does not fit: ${failed.what} takes ${formatBytes(failed.needed)}, and ${formatBytes(failed.available!)} are free.`,
    failed.remedy,
  );
}
