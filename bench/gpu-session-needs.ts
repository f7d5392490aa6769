/** What a session on a GPU machine needs and does not find. */
import { spawnSync } from 'node:child_process';
import { freeSpace } from '../src/disk/space.js';
import { providers } from '../src/doctor/machine.js';
import { unusableForTraining } from './check-gpu-train.js';
import type { Need } from './gpu-session-step.js';

/** Bytes of the largest files: a start, an SAE and a store of the paper's sizes, and what `train` makes of them. */
const DISK = 20e9;

/** A sentence for each need that is not met. Of a rehearsal, the GPU and what comes with it are. */
export async function missing(rehearsal: boolean, python: string, directory: string): Promise<Map<Need, string>> {
  const found = new Map<Need, string>();
  const set = (need: Need, sentence: string | null) => sentence !== null && found.set(need, sentence);
  set('engine', rehearsal ? await withoutShim() : await unusableForTraining('cuda'));
  set('provider', rehearsal ? null : await unusableProvider());
  set('peer', rehearsal ? 'A rehearsal compares with nothing.' : withoutPeer(python));
  const sanitizer = rehearsal || spawnSync('compute-sanitizer', ['--version']).status !== 0;
  set('sanitizer', sanitizer ? 'compute-sanitizer of the CUDA toolkit is not on the PATH.' : null);
  const free = await freeSpace(directory);
  if (!rehearsal && free !== undefined && free < DISK)
    console.error(
      `Only ${(free / 1e9).toFixed(1)} GB are free in ${directory}, where up to 20 GB are written: name another --directory.`,
    );
  return found;
}

async function unusableProvider(): Promise<string | null> {
  const cuda = (await providers()).find(({ name }) => name === 'cuda')!;
  return cuda.available
    ? null
    : `ONNX Runtime's CUDA provider cannot be used here: ${cuda.reasons.slice(0, 2).join('; ')}.`;
}

function withoutPeer(python: string): string | null {
  const { status } = spawnSync(python, [
    '-c',
    'import torch, transformers, safetensors; assert torch.cuda.is_available()',
  ]);
  if (status === 0) return null;
  return `${python} has no PyTorch for CUDA with transformers, which SAE_PIPE_BENCH_PYTHON may name: nothing is compared.`;
}

/** Why the engine's tests cannot emulate a GPU on this CPU. */
async function withoutShim(): Promise<string | null> {
  const { withoutCompiler } = await import('../test/train/engines/cuda/compiler.js');
  return withoutCompiler || null;
}
