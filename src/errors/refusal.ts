import type { RefusalCode } from './codes.js';

/**
 * A problem the user can fix: bad input, a full disk, a name that does not exist. The command line prints the message
 * and the remedy, no stack, and exits 1 (2 where the command itself was wrong).
 */
export class Refusal extends Error {
  readonly remedy: string | undefined;
  readonly exitCode: 1 | 2;
  /** The kind of problem, which does not change with the sentence; printed with `--log json` only. */
  readonly code: RefusalCode;

  /**
   * @param message one sentence naming the thing and what is wrong with it
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

/** A refusal as it crosses between threads, where errors lose what they are. */
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

/** The refusal that was sent. */
export function refusalFrom({ message, remedy, code, exitCode }: RefusedReply): Refusal {
  return exitCode === 2 ? new UsageRefusal(message, remedy, code) : new Refusal(message, remedy, code);
}

/** A signal asked to stop; work done so far is on disk. The exit code is 128 + the signal's number. */
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

/** Longest sentence: what a file says may be quoted in it, and may be of any length. */
const LONGEST = 2000;

/**
 * A text as a part of one line: what a file says goes to a terminal in messages, and must neither break the line nor
 * command the terminal. Control characters are escaped as JSON does; what is too long is cut in the middle.
 */
export function oneLine(text: string): string {
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST / 2)} … ${text.slice(text.length - LONGEST / 2)}` : text;
  return cut.replace(
    /[\p{Cc}\p{Cs}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

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
