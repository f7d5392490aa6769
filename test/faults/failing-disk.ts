/**
 * Loaded into the program before anything else (run-on-failing-disk.ts): counts what is done to files below a directory
 * and lets it fail from some point on. A write that fails leaves half of its bytes, as a full disk does.
 */
import fs, { statSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { constants } from 'node:os';
import { resolve, sep } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import type { Disk } from './run-on-failing-disk.js';

const { below, failAt, code, report, only, once } = JSON.parse(process.env.SAE_PIPE_TEST_DISK!) as Disk;
const root = resolve(below) + sep;
const concerns = (path: unknown) => typeof path === 'string' && (resolve(path) + sep).startsWith(root);

let done = 0;
/** Counts an operation; is it to fail? A full disk stays full. */
const fails = (syscall: string) => {
  if (only ? !only.includes(syscall) : syscall === 'fsync of a directory') return false;
  done++;
  return once ? done === failAt : done >= failAt;
};
/** What libuv has no name for. */
const NAMELESS = ['EDQUOT', 'ESTALE'];
const failure = (syscall: string) => {
  const errno = -constants.errno[code as 'EIO'];
  const name = NAMELESS.includes(code) ? `Unknown system error ${errno}` : code;
  return Object.assign(new Error(`${name}: made up for a test, ${syscall}`), { code: name, syscall, errno });
};

const { promises } = fs as unknown as { promises: Record<string, (...args: unknown[]) => Promise<unknown>> };
const plain = { ...promises };

/** Failing versions of what a file handle does. */
function patch(handle: FileHandle): FileHandle {
  const methods = handle as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  for (const name of ['write', 'writeFile', 'appendFile']) {
    const own = methods[name]!.bind(handle);
    methods[name] = async (...args) => {
      if (!fails('write')) return own(...args);
      const bytes = Buffer.from(args[0] as Uint8Array);
      await own(bytes.subarray(0, bytes.length >> 1));
      throw failure('write');
    };
  }
  return patchSync(handle, 'fsync');
}

function patchSync(handle: FileHandle, name: string): FileHandle {
  const own = handle.sync.bind(handle);
  handle.sync = async () => {
    if (fails(name)) throw failure('fsync');
    return own();
  };
  return handle;
}

const writes = (flags: unknown) => typeof flags === 'string' && /[wa+]/.test(flags);
promises.open = async (path, flags, ...more) => {
  if (!concerns(path)) return plain.open!(path, flags, ...more);
  if (!writes(flags)) {
    const handle = (await plain.open!(path, flags, ...more)) as FileHandle;
    return statSync(path as string).isDirectory() ? patchSync(handle, 'fsync of a directory') : handle;
  }
  if (fails('open')) throw failure('open');
  return patch((await plain.open!(path, flags, ...more)) as FileHandle);
};
for (const [name, place] of [
  ['rename', 1],
  ['mkdir', 0],
  ['copyFile', 1],
  ['writeFile', 0],
  ['appendFile', 0],
] as const) {
  promises[name] = async (...args) => {
    if (concerns(args[place]) && fails(name)) throw failure(name);
    return plain[name]!(...args);
  };
}

if (isMainThread && process.env.SAE_PIPE_TEST_DISK) {
  process.on('exit', () => writeFileSync(report, String(done)));
}
syncBuiltinESMExports();
