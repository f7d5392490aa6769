import { execFile } from 'node:child_process';

/** What a command of Slurm answered. */
interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Milliseconds that a question may take: a controller that is busy or gone answers late or never. */
const PATIENCE = 10_000;
/** Bytes of an answer, at most. */
const MOST_BYTES = 2 ** 24;

/** Without what asks another cluster, or leaves jobs out of the answer. */
const withoutFilters = (environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(environment).filter(([name]) => !/^(SQUEUE_|SACCT_|SCONTROL_|SLURM_CLUSTERS$)/.test(name)),
  );

/**
 * Asks a command of Slurm that only reads.
 *
 * @param patience milliseconds after which it is ended
 * @returns undefined where there is no such command, it does not answer in time, or it answers too much
 */
export function askSlurm(command: string, args: readonly string[], patience = PATIENCE): Promise<Answer | undefined> {
  // Times in the forms that are read here, whatever the user's shell has set.
  const env = { ...withoutFilters(process.env), SLURM_TIME_FORMAT: 'standard', LC_ALL: 'C' };
  const options = { timeout: patience, killSignal: 'SIGKILL', maxBuffer: MOST_BYTES, env } as const;
  return new Promise((resolve) => {
    execFile(command, [...args], options, (error, stdout, stderr) => {
      if (error === null) return resolve({ code: 0, stdout, stderr });
      resolve(typeof error.code === 'number' ? { code: error.code, stdout, stderr } : undefined);
    });
  });
}
