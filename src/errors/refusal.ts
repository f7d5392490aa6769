import type { RefusalCode } from './codes.js';

/**
 * A problem the user can fix: bad input, a full disk, a name that does not exist. The command line prints message and
 * remedy without a stack trace, and exits with 1 (2 if the command itself was wrong).
 */
export class Refusal extends Error {
  readonly remedy: string | undefined;
  readonly exitCode: 1 | 2;
  /** The kind of problem, stable when the message is reworded; printed with `--log json` only. */
  readonly code: RefusalCode;

  /**
   * @param message one sentence: what is wrong, and with what
   * @param remedy one sentence: what to do about it
   * @param code from src/errors/codes.ts
   */
  constructor(
    message: string,
    remedy: string | undefined,
    code: RefusalCode,
    options: { exitCode?: 1 | 2; cause?: unknown } = {},
  ) {
    super(oneLine(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Refusal';
    this.remedy = remedy === undefined ? undefined : oneLine(remedy);
    this.code = code;
    this.exitCode = options.exitCode ?? 1;
  }
}

/** A mistake in the command itself: an unknown flag, a value out of range. Exit code 2. */
export class UsageRefusal extends Refusal {
  constructor(message: string, remedy: string | undefined, code: RefusalCode) {
    super(message, remedy, code, { exitCode: 2 });
    this.name = 'UsageRefusal';
  }
}

/** A refusal as sent between threads, where errors lose their class. */
export interface RefusedReply {
  readonly kind: 'refused';
  readonly message: string;
  readonly remedy: string | undefined;
  readonly code: RefusalCode;
  readonly exitCode: 1 | 2;
}

export function refusedReply({ message, remedy, code, exitCode }: Refusal): RefusedReply {
  return { kind: 'refused', message, remedy, code, exitCode };
}

/** Rebuilds the refusal that was sent. */
export function refusalFrom({ message, remedy, code, exitCode }: RefusedReply): Refusal {
  return exitCode === 2 ? new UsageRefusal(message, remedy, code) : new Refusal(message, remedy, code);
}

/** A signal asked to stop; progress so far is on disk. The exit code is 128 + the signal's number. */
export class Interrupted extends Error {
  constructor(
    readonly signal: StopSignal,
    /** What is on disk, and how to resume. */
    message: string,
  ) {
    super(message);
    this.name = 'Interrupted';
  }
}

/** Max length of a message: it may quote a file, whose text may be of any length. */
const LONGEST = 2000;

/**
 * Text made safe for one line of a message: quoted file contents must neither break the line nor control the terminal.
 * Escapes control characters as JSON does and truncates long text in the middle.
 */
export function oneLine(text: string): string {
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST / 2)} … ${text.slice(text.length - LONGEST / 2)}` : text;
  return cut.replace(
    /[\p{Cc}\p{Cs}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * Signals that ask a command to stop: Ctrl-C, the scheduler's end of a job and its advance warning (Slurm's
 * `--signal=USR1@300`), a closed terminal or session, and the soft CPU time limit.
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
