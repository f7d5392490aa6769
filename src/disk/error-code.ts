import { constants } from 'node:os';

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
