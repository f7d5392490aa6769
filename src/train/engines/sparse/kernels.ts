import { readFile } from 'node:fs/promises';

/** Byte address within a worker's memory. */
export type Pointer = number;

/** The kernels compiled from kernels/*.ts, where each is described. */
export interface Kernels {
  centre(
    source: Pointer,
    half: boolean,
    scale: number,
    bDec: Pointer,
    xc: Pointer,
    rows: number,
    dIn: number,
    d: number,
  ): void;
  columnVariance(x: Pointer, rows: number, d: number, first: number, last: number): number;
  quantise(
    source: Pointer,
    rows: number,
    d: number,
    levels: number,
    flip: number,
    q: Pointer,
    inverse: Pointer,
    error: Pointer,
    length: Pointer,
  ): void;
  transposeBytes(from: Pointer, to: Pointer, rows: number, rowsPadded: number, d: number): void;
  screen(
    acc: Pointer,
    rows: number,
    B: number,
    Bp: number,
    bias: Pointer,
    wInverse: Pointer,
    wError: Pointer,
    wLength: Pointer,
    xInverse: Pointer,
    xError: Pointer,
    xLength: Pointer,
    wide: number,
    start: Pointer,
    candidates: Pointer,
    capacity: number,
  ): number;
  encode(
    w: Pointer,
    rows: number,
    x: Pointer,
    d: number,
    start: Pointer,
    candidates: Pointer,
    bias: Pointer,
    entryStart: Pointer,
    token: Pointer,
    p: Pointer,
    entries: number,
  ): number;
  compact(
    product: Pointer,
    rows: number,
    B: number,
    Bp: number,
    bias: Pointer,
    entryStart: Pointer,
    token: Pointer,
    p: Pointer,
    entries: number,
    limit: number,
  ): number;
  regroup(
    gated: boolean,
    l1OnF: boolean,
    features: number,
    B: number,
    bias: Pointer,
    bMag: Pointer,
    expRMag: Pointer,
    entryStart: Pointer,
    token: Pointer,
    p: Pointer,
    fired: Pointer,
    tokenStart: Pointer,
    feature: Pointer,
    f: Pointer,
    g: Pointer,
    totals: Pointer,
  ): void;
  decodeGated(
    tokenStart: Pointer,
    feature: Pointer,
    f: Pointer,
    g: Pointer,
    wDec: Pointer,
    B: number,
    d: number,
    out: Pointer,
    aux: Pointer,
  ): void;
  decodeStandard(
    tokenStart: Pointer,
    feature: Pointer,
    f: Pointer,
    wDec: Pointer,
    B: number,
    d: number,
    out: Pointer,
  ): void;
  addTo(to: Pointer, from: Pointer, bytes: number): void;
  residual(sum: Pointer, xc: Pointer, rows: number, d: number, factor: number): number;
  sumRows(source: Pointer, rows: number, d: number, out: Pointer): void;
  updateGated(block: Pointer, first: number, last: number): void;
  updateStandard(block: Pointer, first: number, last: number): void;
  takeWritten(): number;
  applyStrip(
    block: Pointer,
    gated: boolean,
    first: number,
    rows: number,
    gEnc: Pointer,
    gDec: Pointer,
    sums: Pointer,
  ): void;
  decayMoments(block: Pointer, gated: boolean, first: number, last: number): void;
  gatedStrip(
    p: Pointer,
    rows: number,
    B: number,
    Bp: number,
    bGate: Pointer,
    bMag: Pointer,
    expRMag: Pointer,
    auxiliary: boolean,
    penalised: boolean,
    out: Pointer,
    fired: Pointer,
    totals: Pointer,
  ): void;
  standardStrip(
    p: Pointer,
    rows: number,
    B: number,
    Bp: number,
    bEnc: Pointer,
    out: Pointer,
    fired: Pointer,
    totals: Pointer,
  ): void;
  gatedGradientStrip(
    p: Pointer,
    df: Pointer,
    dg: Pointer,
    rows: number,
    B: number,
    Bp: number,
    bGate: Pointer,
    bMag: Pointer,
    expRMag: Pointer,
    l1: number,
    l1F: number,
    sums: Pointer,
  ): void;
  standardGradientStrip(
    p: Pointer,
    df: Pointer,
    rows: number,
    B: number,
    Bp: number,
    bEnc: Pointer,
    l1: number,
    sums: Pointer,
  ): void;
}

/** The compiled module, which any number of workers may instantiate. */
export async function compileKernels(): Promise<WebAssembly.Module> {
  return WebAssembly.compile(await readFile(new URL('kernels.wasm', import.meta.url)));
}

/** Kernels that work on `memory`. */
export function bindKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Kernels;
}
