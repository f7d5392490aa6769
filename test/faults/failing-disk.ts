/**
 * Loaded into the program before anything else (run-on-failing-disk.ts): counts what is done to files below a directory
 * and lets it fail from some point on. A write that fails leaves half of its bytes, as a full disk does.
 */
import fs, { writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { resolve, sep } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import type { Disk } from './run-on-failing-disk.js';

const { below, failAt, code, report } = JSON.parse(process.env.SAE_PIPE_TEST_DISK!) as Disk;
const root = resolve(below) + sep;
const concerns = (path: unknown) => typeof path === 'string' && (resolve(path) + sep).startsWith(root);

let done = 0;
/** Counts an operation; is it to fail? A full disk stays full. */
const fails = () => ++done >= failAt;
const failure = (syscall: string) =>
  Object.assign(new Error(`${code}: made up for a test, ${syscall}`), { code, syscall, errno: -1 });

const { promises } = fs as unknown as { promises: Record<string, (...args: unknown[]) => Promise<unknown>> };
const plain = { ...promises };

/** Failing versions of what a file handle does. */
function patch(handle: FileHandle): FileHandle {
  const methods = handle as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  for (const name of ['write', 'writeFile', 'appendFile']) {
    const own = methods[name]!.bind(handle);
    methods[name] = async (...args) => {
      if (!fails()) return own(...args);
      const bytes = Buffer.from(args[0] as Uint8Array);
      await own(bytes.subarray(0, bytes.length >> 1));
      throw failure('write');
    };
  }
  const sync = methods.sync!.bind(handle);
  methods.sync = async () => {
    if (fails()) throw failure('fsync');
    return sync();
  };
  return handle;
}

const writes = (flags: unknown) => typeof flags === 'string' && /[wa+]/.test(flags);
promises.open = async (path, flags, ...more) => {
  if (!concerns(path) || !writes(flags)) return plain.open!(path, flags, ...more);
  if (fails()) throw failure('open');
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
    if (concerns(args[place]) && fails()) throw failure(name);
    return plain[name]!(...args);
  };
}

if (isMainThread && process.env.SAE_PIPE_TEST_DISK) {
  process.on('exit', () => writeFileSync(report, String(done)));
}
syncBuiltinESMExports();
