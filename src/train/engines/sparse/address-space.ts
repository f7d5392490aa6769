import { readFileSync } from 'node:fs';
import { formatBytes } from '../../../disk/space.js';
import { Refusal } from '../../../errors/refusal.js';

/**
 * Address space that V8 reserves for a WebAssembly.Memory of any size: 8 GiB that 32-bit addresses with 32-bit offsets
 * reach, and guard pages, so that it need not check bounds (kFullGuardSize of V8's backing-store.cc). Not memory.
 */
const RESERVED = 10 * 2 ** 30;
/** What Node.js, ONNX Runtime and threads' stacks reserve; measured, rounded up. */
const PROGRAM = 4 * 2 ** 30;
/** With it V8 checks bounds and reserves nothing. */
const CHECKS_BOUNDS = '--disable-wasm-trap-handler';

/** Bytes of address space that this process may have (`ulimit -v`); infinite where it is not limited, or not known. */
function addressSpace(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    return Number(/^Max address space\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/**
 * Makes sure that the memories of all workers can be made: where they cannot, libraries end the process in the midst of
 * their own work.
 *
 * @throws Refusal with what there is and what it takes
 */
export function checkAddressSpace(workers: number, limit = addressSpace(), options = nodeOptions()): void {
  const needed = workers * RESERVED + PROGRAM;
  if (limit >= needed || options.includes(CHECKS_BOUNDS)) return;
  const threads = Math.floor((limit - PROGRAM) / RESERVED);
  const fewer = threads > 0 ? `--threads ${threads}` : '--engine reference';
  throw new Refusal(
    `The address space of this process is limited to ${formatBytes(limit)} (ulimit -v), and ${workers} threads of the sparse engine reserve ${formatBytes(needed)} of it (not memory).`,
    `Set NODE_OPTIONS=${CHECKS_BOUNDS} (Node.js 20.15 or newer), raise the limit, or use ${fewer}.`,
    'train/address-space',
  );
}

const nodeOptions = () => [...process.execArgv, ...(process.env.NODE_OPTIONS ?? '').split(/\s+/)];
