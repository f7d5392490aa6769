import { execFile, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import koffi from 'koffi';
import { temporaryDirectory } from '../../../temporary.js';

const SHIM = 'test/train/engines/cuda/shim';
const FLAGS = ['-std=c++20', '-O1', '-fPIC', '-w', '-U_FORTIFY_SOURCE', '-fno-strict-aliasing'];

/** Why kernels cannot be run on this machine, or false. */
export const withoutCompiler: string | false = missing();

function missing(): string | false {
  if (process.platform !== 'linux') return `runs kernels on the CPU of Linux alone, and this is ${process.platform}`;
  if (spawnSync('g++', ['--version']).status === 0) return false;
  return 'needs g++ to compile kernels for the CPU; none is on the PATH';
}

export type Library = ReturnType<typeof koffi.load>;

// Removed when the test file is over; opened while it is loaded, or it would go with the test that needed it first.
const directory = temporaryDirectory();
let made = 0;
let runtime: Promise<string> | undefined;
const libraries = new Map<string, Promise<Library>>();

/** The memory and the products of the device, as a library. */
export function memoryLibrary(): Promise<Library> {
  return library('memory', ['-O2', join(SHIM, 'memory.cpp')]);
}

/** CUDA C as a library for the CPU, with `launch_<name>` for each of its kernels; compiled once for the same text. */
export async function kernelLibrary(source: string): Promise<Library> {
  runtime ??= compiled('runtime.o', ['-O2', '-c', join(SHIM, 'runtime.cpp')]);
  const object = await runtime;
  const names = [...source.matchAll(/extern "C" __global__ void (?:__launch_bounds__\(\w+\) )?(\w+)\(/g)].map(
    (match) => match[1]!,
  );
  const path = join(directory, `kernels-${made++}.cpp`);
  const launchers = names.map((name) => `LAUNCHER(${name})`);
  writeFileSync(path, ['#include "launch.h"', '#include "shim.h"', source, ...launchers, ''].join('\n'));
  return library(source, [`-I${SHIM}`, path, object]);
}

function library(key: string, inputs: readonly string[]): Promise<Library> {
  let found = libraries.get(key);
  if (!found) {
    found = compiled(`library-${made++}.so`, ['-shared', ...inputs]).then((path) => koffi.load(path));
    libraries.set(key, found);
  }
  return found;
}

async function compiled(name: string, args: readonly string[]): Promise<string> {
  const out = join(directory, name);
  await promisify(execFile)('g++', [...FLAGS, ...args, '-o', out]);
  return out;
}
