import { constants } from 'node:os';
import type { RefusalCode } from '../errors/codes.js';
import { Refusal } from '../errors/refusal.js';

const AGAIN = 'give the same command again (harvest and train: with --resume)';

/**
 * A file that is in place, whole, and may be lost if the machine loses power now. It is an error, for the command's
 * success promises more; whoever cleans up after errors leaves such a file alone.
 */
export class Unconfirmed extends Refusal {
  /** @param path the file, or a directory that was made */
  constructor(
    readonly path: string,
    cause: unknown,
  ) {
    const { syscall } = cause as NodeJS.ErrnoException;
    super(
      `${path} was written, but the disk did not confirm that it would survive a power failure (${errorCode(cause)} on ${syscall}).`,
      `Check the disk, then ${AGAIN}.`,
      'disk/unconfirmed',
      { cause },
    );
    this.name = 'Unconfirmed';
  }
}

/** The sentence for a failed write; errors that are not the file system's pass through. */
export function refusedWrite(path: string, cause: unknown): unknown {
  const code = errorCode(cause);
  if (code === undefined) return cause;
  const { syscall = 'write' } = cause as NodeJS.ErrnoException;
  const refusal = (message: string, remedy: string, code: RefusalCode) => new Refusal(message, remedy, code, { cause });
  switch (code) {
    case 'ENOSPC':
      return refusal(
        `The disk is full: ${path} could not be written.`,
        `Free space and ${AGAIN}, or choose another --out.`,
        'disk/full',
      );
    case 'EDQUOT':
      return refusal(
        `Your disk quota is used up: ${path} could not be written.`,
        `Free space or raise the quota (quota -s shows it) and ${AGAIN}, or choose another --out.`,
        'disk/quota',
      );
    case 'EFBIG':
      return refusal(
        `${path} could not be written: it would exceed the file size limit.`,
        `Raise the limit (ulimit -f) and ${AGAIN}; smaller --rows-per-shard makes smaller shards.`,
        'disk/file-size-limit',
      );
    case 'EMFILE':
    case 'ENFILE':
      return refusal(...tooManyFiles(path, code));
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return refusal(
        `${path} may not be written (${code}).`,
        'Choose an --out that you may write to.',
        'disk/not-writable',
      );
    case 'ENAMETOOLONG':
      return refusal(
        `${path} could not be written: the name is too long.`,
        'Choose a shorter --out.',
        'disk/name-too-long',
      );
    case 'ELOOP':
      return refusal(
        `${path} could not be written: symbolic links on its way form a loop.`,
        'Fix the links.',
        'disk/link-loop',
      );
    case 'ENOENT':
    case 'ENOTDIR':
      return refusal(
        `${path} could not be written: its directory is gone or not a directory.`,
        'Check --out.',
        'disk/out-vanished',
      );
    default:
      return refusal(
        `${path} could not be written (${code} on ${syscall}).`,
        `Check the disk and ${AGAIN}, or choose another --out.`,
        'disk/not-written',
      );
  }
}

function tooManyFiles(path: string, code: 'EMFILE' | 'ENFILE'): [string, string, RefusalCode] {
  const [who, raise] =
    code === 'EMFILE' ? ['this process has', 'ulimit -n'] : ['the machine has', 'sysctl fs.file-max'];
  return [
    `${path} could not be written: ${who} too many files open (${code}).`,
    `Raise the limit (${raise}) and ${AGAIN}.`,
    'disk/too-many-open-files',
  ];
}

/** What the operating system refused, where no stage had a better sentence for it. */
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

/** Is that the cause, or the cause of a cause? From a worker thread an error comes without its code. */
function hasTooManyFiles(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof Refusal) return false;
  return errorCode(error) === 'EMFILE' || /\bEMFILE\b/.test(error.message) || hasTooManyFiles(error.cause);
}

const NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [-number, name]));

/**
 * The name of what the operating system refused: EDQUOT, ENOSPC. libuv has no name for some errors of file systems
 * (EDQUOT, ESTALE) and says "Unknown system error -122"; their number has one all the same.
 *
 * @returns undefined where `error` is not the operating system's
 */
export function errorCode(error: unknown): string | undefined {
  const { code, errno, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  // A stream may hand on the code alone.
  if (syscall === undefined) return code !== undefined && Object.hasOwn(constants.errno, code) ? code : undefined;
  if (code !== undefined && !code.startsWith('Unknown system error')) return code;
  return NAMES.get(errno ?? 0) ?? code;
}
