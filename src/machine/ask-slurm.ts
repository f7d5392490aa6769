import { execFile } from 'node:child_process';

/** Output of a Slurm command. */
interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Timeout in milliseconds: a busy or dead controller replies late or never. */
const PATIENCE = 10_000;
/** Max bytes of output. */
const MOST_BYTES = 2 ** 24;

/** Without variables that select another cluster or hide jobs. */
const withoutFilters = (environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(environment).filter(([name]) => !/^(SQUEUE_|SACCT_|SCONTROL_|SLURM_CLUSTERS$)/.test(name)),
  );

/**
 * Runs a read-only Slurm command.
 *
 * @param patience timeout in milliseconds
 * @returns undefined if the command does not exist, times out or prints too much
 */
export function askSlurm(command: string, args: readonly string[], patience = PATIENCE): Promise<Answer | undefined> {
  // Times in the formats parsed here, whatever the user's environment.
  const env = { ...withoutFilters(process.env), SLURM_TIME_FORMAT: 'standard', LC_ALL: 'C' };
  const options = { timeout: patience, killSignal: 'SIGKILL', maxBuffer: MOST_BYTES, env } as const;
  return new Promise((resolve) => {
    execFile(command, [...args], options, (error, stdout, stderr) => {
      if (error === null) return resolve({ code: 0, stdout, stderr });
      resolve(typeof error.code === 'number' ? { code: error.code, stdout, stderr } : undefined);
    });
  });
}
