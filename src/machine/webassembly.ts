import { readFile } from 'node:fs/promises';

declare global {
  /** The part of the WebAssembly JavaScript interface that is used here; Node's types leave it to a browser's. */
  namespace WebAssembly {
    class Module {
      private constructor();
    }
    class Memory {
      constructor(descriptor: { initial: number; maximum: number });
      readonly buffer: ArrayBuffer;
    }
    class Instance {
      constructor(module: Module, imports: { env: { memory: Memory } });
      readonly exports: Readonly<Record<string, unknown>>;
    }
    function compile(bytes: Uint8Array): Promise<Module>;
  }
}

/** Bytes of a page of WebAssembly's memory. */
export const WASM_PAGE = 2 ** 16;

/** The compiled module of a .wasm file, which any number of threads may instantiate. */
export async function compileModule(file: URL): Promise<WebAssembly.Module> {
  return WebAssembly.compile(await readFile(file));
}

/**
 * What opens, or undefined if there is no room for its memory: however small that is, V8 reserves some 10 GiB of
 * addresses for it, which `ulimit -v` may forbid.
 */
export async function ifMemoryAllows<T>(opening: Promise<T>): Promise<T | undefined> {
  try {
    return await opening;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
