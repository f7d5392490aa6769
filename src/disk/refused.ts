import { constants } from 'node:os';
import type { RefusalCode } from '../errors/codes.js';
import { Refusal } from '../errors/refusal.js';

const SAME_COMMAND = 'give the same command again (harvest, train and features: with --resume)';

/**
 * A file that is complete in place, but may be lost if the machine loses power now. This is an error, since success
 * promises more; cleanup code leaves such a file alone.
 */
export class Unconfirmed extends Refusal {
  /** @param path the file, or a directory that was created */
  constructor(
    readonly path: string,
    cause: unknown,
  ) {
    const { syscall } = cause as NodeJS.ErrnoException;
    super(
      `${path} was written, but the disk did not confirm that it would survive a power failure (${errorCode(cause)} on ${syscall}).`,
      `Check the disk, then ${SAME_COMMAND}.`,
      'disk/unconfirmed',
      { cause },
    );
    this.name = 'Unconfirmed';
  }
}

/** Causes of failed writes, by error code. */
interface WriteError {
  readonly message: (path: string, error: string) => string;
  readonly remedy: string;
  readonly code: RefusalCode;
}

const tooManyOpen = (who: string, limit: string): WriteError => ({
  message: (path, error) => `${path} could not be written: ${who} too many files open (${error}).`,
  remedy: `Raise the limit (${limit}) and ${SAME_COMMAND}.`,
  code: 'disk/too-many-open-files',
});

const notWritable: WriteError = {
  message: (path, error) => `${path} may not be written (${error}).`,
  remedy: 'Choose an --out that you may write to.',
  code: 'disk/not-writable',
};

const vanished: WriteError = {
  message: (path) => `${path} could not be written: its directory has disappeared or is not a directory.`,
  remedy: 'Check --out.',
  code: 'disk/out-vanished',
};

const WRITE_ERRORS: Readonly<Record<string, WriteError>> = {
  ENOSPC: {
    message: (path) => `The disk is full: ${path} could not be written.`,
    remedy: `Free space and ${SAME_COMMAND}, or choose another --out.`,
    code: 'disk/full',
  },
  EDQUOT: {
    message: (path) => `Your disk quota is used up: ${path} could not be written.`,
    remedy: `Free space or raise the quota (quota -s shows it) and ${SAME_COMMAND}, or choose another --out.`,
    code: 'disk/quota',
  },
  EFBIG: {
    message: (path) => `${path} could not be written: it would exceed the file size limit.`,
    remedy: `Raise the limit (ulimit -f) and ${SAME_COMMAND}; smaller --rows-per-shard makes smaller shards.`,
    code: 'disk/file-size-limit',
  },
  EMFILE: tooManyOpen('this process has', 'ulimit -n'),
  ENFILE: tooManyOpen('the machine has', 'sysctl fs.file-max'),
  EACCES: notWritable,
  EPERM: notWritable,
  EROFS: notWritable,
  ENAMETOOLONG: {
    message: (path) => `${path} could not be written: the name is too long.`,
    remedy: 'Choose a shorter --out.',
    code: 'disk/name-too-long',
  },
  ELOOP: {
    message: (path) => `${path} could not be written: symbolic links in its path form a loop.`,
    remedy: 'Fix the links.',
    code: 'disk/link-loop',
  },
  ENOENT: vanished,
  ENOTDIR: vanished,
};

/** Turns a failed write into a Refusal; errors that are not the file system's pass through. */
export function refusedWrite(path: string, cause: unknown): unknown {
  const code = errorCode(cause);
  if (code === undefined) return cause;
  const known = WRITE_ERRORS[code];
  if (known) return new Refusal(known.message(path, code), known.remedy, known.code, { cause });
  const { syscall = 'write' } = cause as NodeJS.ErrnoException;
  return new Refusal(
    `${path} could not be written (${code} on ${syscall}).`,
    `Check the disk and ${SAME_COMMAND}, or choose another --out.`,
    'disk/not-written',
    { cause },
  );
}

/** A Refusal for an operating system error that no stage described better. */
export function systemRefusal(error: unknown): Refusal | undefined {
  if (hasTooManyFiles(error)) {
    return new Refusal(
      'This process may not open as many files as it needs (EMFILE).',
      'Raise the limit (ulimit -n 1024), or take fewer --threads.',
      'disk/too-many-open-files',
    );
  }
  const { syscall, path } = (error ?? {}) as NodeJS.ErrnoException;
  const code = errorCode(error);
  if (code === undefined) return undefined;
  const what = code === 'EACCES' || code === 'EPERM' ? 'may not be accessed' : 'could not be used';
  return new Refusal(
    `${path ?? syscall} ${what} (${code} on ${syscall}).`,
    'Check the path and its permissions.',
    'disk/system-refused',
  );
}

/** Is this the error's cause, at any depth? Errors from worker threads arrive without their code. */
function hasTooManyFiles(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof Refusal) return false;
  return errorCode(error) === 'EMFILE' || /\bEMFILE\b/.test(error.message) || hasTooManyFiles(error.cause);
}

const ERROR_NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [-number, name]));

/**
 * The name of an operating system error: EDQUOT, ENOSPC. libuv has no names for some file system errors (EDQUOT,
 * ESTALE) and reports "Unknown system error -122"; those are looked up by number.
 *
 * @returns undefined if `error` is not an operating system error
 */
export function errorCode(error: unknown): string | undefined {
  const { code, errno, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  // A stream may pass on the code alone.
  if (syscall === undefined) return code !== undefined && Object.hasOwn(constants.errno, code) ? code : undefined;
  if (code !== undefined && !code.startsWith('Unknown system error')) return code;
  return ERROR_NAMES.get(errno ?? 0) ?? code;
}
