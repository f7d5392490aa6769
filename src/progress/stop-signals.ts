/**
 * Signals that ask a command to stop: Ctrl-C, the scheduler's end of a job and its warning before (Slurm's
 * `--signal=USR1@300`), the end of a terminal or of its session, and the soft limit on processor time.
 */
export const STOP_SIGNALS = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGXCPU',
  'SIGALRM',
] as const;
export type StopSignal = (typeof STOP_SIGNALS)[number];
