import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import koffi from 'koffi';
import { fixture } from '../../../fixtures.js';
import { temporaryDirectory } from '../../../temporary.js';

const SHIM = 'test/train/engines/cuda/shim';
const KERNEL = /extern "C" __global__ void (?:__launch_bounds__\(\w+\) )?(\w+)\(/g;
const FLAGS = ['-std=c++20', '-O1', '-fPIC', '-w', '-U_FORTIFY_SOURCE', '-fno-strict-aliasing'];

/** Why kernels cannot be run on this machine, or false. */
export const withoutCompiler: string | false = missing();

function missing(): string | false {
  if (process.platform !== 'linux') return `runs kernels on the CPU of Linux alone, and this is ${process.platform}`;
  if (spawnSync('g++', ['--version']).status === 0) return false;
  return 'needs g++ to compile kernels for the CPU; none is on the PATH';
}

export type Library = ReturnType<typeof koffi.load>;

// For sources. Removed when the test file is over; opened while it is loaded, or it would go with the test that needed
// it first.
const directory = temporaryDirectory();
let made = 0;
let runtime: Promise<string> | undefined;
const libraries = new Map<string, Promise<Library>>();

/** The memory and the products of the device, as a library. */
export function memoryLibrary(): Promise<Library> {
  return library('memory', ['-O2', join(SHIM, 'memory.cpp')]);
}

/**
 * CUDA C as a library for the CPU, with `launch_<name>` for each of its kernels; compiled once per build for the same text,
 * by whichever test file asks first.
 *
 * @param only kernels that are launched; g++ reads the others and makes nothing of them, which saves most of its time
 */
export async function kernelLibrary(source: string, only?: readonly string[]): Promise<Library> {
  runtime ??= compiled('runtime', ['-O2', '-c', join(SHIM, 'runtime.cpp')]);
  const object = await runtime;
  const names: string[] = [];
  const text = source.replace(KERNEL, (whole, name: string) => {
    if (only?.includes(name) === false) return whole.replace('extern "C"', 'static');
    names.push(name);
    return whole;
  });
  const path = join(directory, `kernels-${made++}.cpp`);
  const launchers = names.map((name) => `LAUNCHER(${name})`);
  writeFileSync(path, ['#include "launch.h"', '#include "shim.h"', text, ...launchers, ''].join('\n'));
  return library(text, [`-I${SHIM}`, path, object]);
}

function library(key: string, inputs: readonly string[]): Promise<Library> {
  let found = libraries.get(key);
  if (!found) {
    found = compiled(key, ['-shared', ...inputs]).then((path) => koffi.load(path));
    libraries.set(key, found);
  }
  return found;
}

const shimText = () => readdirSync(SHIM).map((name) => readFileSync(join(SHIM, name), 'utf8'));

/** @param key tells apart what is compiled, together with the shim */
async function compiled(key: string, args: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
    .update(JSON.stringify([FLAGS, key, shimText()]))
    .digest('hex');
  const place = await fixture(`compiled-${hash.slice(0, 32)}`, (own) =>
    promisify(execFile)('g++', [...FLAGS, ...args, '-o', join(own, 'out')]),
  );
  return join(place, 'out');
}
