import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Milliseconds between samples. */
const INTERVAL = 200;
const MIB = 2 ** 20;

/** Watches a process from outside; `end` gives the most it held, in bytes, or null where nothing tells. */
export interface Watch {
  end(): number | null;
}

/** Peak memory of a child process: of the GPU where it runs on one, else its resident memory. */
export function watchMemory(child: ChildProcess, device: string): Watch {
  return device.startsWith('cuda') ? watchGpu(child.pid!, device) : watchResident(child.pid!);
}

/** Linux only: the kernel keeps the peak, which is gone with the process, so it is read again and again. */
function watchResident(pid: number): Watch {
  let peak: number | null = null;
  const timer = setInterval(() => {
    try {
      const kibibytes = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
      if (kibibytes) peak = Number(kibibytes) * 1024;
    } catch {
      // There is no /proc, or the process has just ended.
    }
  }, INTERVAL);
  return {
    end: () => {
      clearInterval(timer);
      return peak;
    },
  };
}

/**
 * What nvidia-smi says of the process. In a container it may know the process by another number or none; then the
 * GPU's memory in use counts, less what was in use in the first sample.
 */
function watchGpu(pid: number, device: string): Watch {
  const own: number[] = [];
  const all: number[] = [];
  const gpu = /:(\d+)$/.exec(device)?.[1] ?? '0';
  const processes = sample(gpu, '--query-compute-apps=pid,used_gpu_memory', (line) => {
    const [id, used] = line.split(',').map(Number);
    if (id === pid && Number.isFinite(used)) own.push(used!);
  });
  const whole = sample(gpu, '--query-gpu=memory.used', (line) => {
    if (/^\d+$/.test(line)) all.push(Number(line));
  });
  return {
    end: () => {
      processes.kill();
      whole.kill();
      if (own.length > 0) return Math.max(...own) * MIB;
      return all.length > 0 ? (Math.max(...all) - all[0]!) * MIB : null;
    },
  };
}

/** Lines of an nvidia-smi that repeats its answer until it is stopped. */
function sample(gpu: string, query: string, take: (line: string) => void): ChildProcess {
  const args = ['-i', gpu, query, '--format=csv,noheader,nounits', '-lms', String(INTERVAL)];
  const child = spawn('nvidia-smi', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  child.on('error', () => {});
  let rest = '';
  child.stdout.on('data', (data) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop()!;
    for (const line of lines) take(line.trim());
  });
  return child;
}
