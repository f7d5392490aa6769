import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

// Not the environment of the training peers, whose packages ask for another transformers.
const VENV = 'bench/.venv-harvest';

/**
 * A Python with the packages of a requirements file: SAE_PIPE_BENCH_PYTHON, or else that of bench/.venv-harvest, which
 * is made with pip where it is not there.
 */
export function benchPython(requirements: string): string {
  const given = process.env.SAE_PIPE_BENCH_PYTHON;
  if (given) return given;
  const python = `${VENV}/bin/python`;
  if (!existsSync(python)) command('python3', ['-m', 'venv', VENV]);
  command(python, ['-m', 'pip', 'install', '--quiet', '--requirement', requirements]);
  return python;
}

/** Runs a program to its end; what it prints is seen. */
export function command(program: string, args: readonly string[]): void {
  const { status, error } = spawnSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`);
}
