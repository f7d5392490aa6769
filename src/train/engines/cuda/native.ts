/** koffi, which calls C functions of shared libraries. */
export type Native = typeof import('koffi');

/** Bytes of stack for a call on another thread: a compiler recurses deeper than koffi's default of 128 KiB allows. */
const COMPILER_STACK = 16 * 2 ** 20;

let loaded: Promise<Native> | undefined;

/** koffi, loaded on first use: training on the CPU must not depend on it. */
export function native(): Promise<Native> {
  loaded ??= import('koffi').then((koffi) => {
    // Set here for the whole process, since koffi accepts no settings once it has loaded a library.
    koffi.config({ ...koffi.config(), async_stack_size: COMPILER_STACK });
    return koffi;
  });
  return loaded;
}
