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
