import { Refusal } from '../config/refusal.js';
import { errorCode } from '../disk/error-code.js';

/** What the operating system refused, where no stage had a better sentence for it. */
export function systemRefusal(error: unknown): Refusal | undefined {
  if (hasTooManyFiles(error)) {
    return new Refusal(
      'This process may not open as many files as it needs (EMFILE).',
      'Raise the limit (ulimit -n 1024), or take fewer --threads.',
    );
  }
  const { syscall, path } = (error ?? {}) as NodeJS.ErrnoException;
  const code = errorCode(error);
  if (code === undefined) return undefined;
  const what = code === 'EACCES' || code === 'EPERM' ? 'may not be accessed' : 'could not be used';
  return new Refusal(`${path ?? syscall} ${what} (${code} on ${syscall}).`, 'Check the path and its permissions.');
}

/** Is that the cause, or the cause of a cause? From a worker thread an error comes without its code. */
function hasTooManyFiles(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof Refusal) return false;
  return errorCode(error) === 'EMFILE' || /\bEMFILE\b/.test(error.message) || hasTooManyFiles(error.cause);
}
