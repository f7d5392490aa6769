import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Refusal } from '../errors/refusal.js';

/** Timeout of Slurm commands in milliseconds: a busy controller may keep them waiting. */
const PATIENCE = 120_000;
/** `123` or `123;cluster`. */
const JOB = /^(\d+)(;\S+)?$/m;

const call = promisify(execFile);

/**
 * Submits a script.
 *
 * @param after a job that must succeed before this one starts
 * @returns the job's number
 * @throws Refusal if sbatch does not exist, or refuses
 */
export async function sbatch(script: string, after?: string): Promise<string> {
  const dependency = after === undefined ? [] : [`--dependency=afterok:${after}`, '--kill-on-invalid-dep=yes'];
  try {
    const { stdout } = await call('sbatch', ['--parsable', ...dependency, script], { timeout: PATIENCE });
    const id = JOB.exec(stdout.trim())?.[1];
    if (id !== undefined) return id;
    throw new Error(`it answered ${JSON.stringify(stdout.slice(0, 200))}`);
  } catch (cause) {
    const { code, stderr, message } = cause as Error & { code?: string | number; stderr?: string };
    if (code === 'ENOENT') {
      throw new Refusal(
        'sbatch was not found on this machine.',
        'Submit from a machine of the cluster, or print the script with --dry-run.',
        'submit/no-slurm',
      );
    }
    const why = (stderr?.trim() || message).replace(/^sbatch: (error: )?/gm, '').replace(/\.?\s*$/, '');
    throw new Refusal(
      `sbatch refused ${script}: ${why}.`,
      'Fix what it complains about, and submit again.',
      'submit/refused',
      { cause },
    );
  }
}

/** Cancels jobs whose successors could not be submitted; failures (the job may already be over) are ignored. */
export async function cancel(jobs: readonly string[]): Promise<void> {
  if (jobs.length > 0) await call('scancel', [...jobs], { timeout: PATIENCE }).catch(() => {});
}
