/**
 * Ten steps of each architecture but gated on the CUDA engine and on the reference engine, from the same start:
 *
 *     node dist/bench/check-gpu-architectures.js DEVICE DIRECTORY [small]
 *
 * DEVICE is cuda, cuda:N, or shim, the CPU emulation of the engine's tests. Prints a line of JSON after each, with what was
 * found of all so far, and exits 1 if one of them differs or fails.
 */
import type { ProblemSize } from './check-gpu-problem.js';
import { architectureAgrees, OTHERS } from './check-gpu-train.js';

const [device, directory, given] = process.argv.slice(2);
const size: ProblemSize = given === 'small' ? 'small' : 'usual';
const found: Record<string, string> = {};
for (const architecture of OTHERS) {
  const { value, agrees } = await architectureAgrees(architecture, device!, directory!, size);
  found[architecture] = agrees ? value : `DIFFERS: ${value}`;
  if (!agrees) process.exitCode = 1;
  console.log(JSON.stringify(found));
}
