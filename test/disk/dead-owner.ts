import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Owner, thisProcess } from '../../src/disk/lock-owner.js';

/** What stands in the lock of a process that was killed. */
export async function deadOwner(): Promise<Owner> {
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  return { ...thisProcess(), pid: child.pid! };
}
