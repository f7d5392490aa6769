/** What one batch asked of CUDA, as recorded by bench/cuda-stubs/. */
export interface TraceCounts {
  readonly kernels: number;
  /** Matrix products, by cuBLAS. */
  readonly products: number;
  /** Copies to the device and from it. */
  readonly up: number;
  readonly upBytes: number;
  readonly down: number;
  readonly downBytes: number;
  /** Times that the host waited. */
  readonly waits: number;
  /** Products of float32 that cuBLAS may compute in TF32 (its math mode 3). */
  readonly tf32: boolean;
}

export interface PlacementCase extends TraceCounts {
  readonly stage: string;
  readonly model: string;
  readonly precision: string;
  /** Kinds of operators that ran on CUDA. */
  readonly operators: number;
  /** Operators that ran elsewhere. */
  readonly elsewhere: readonly string[];
  readonly error?: string;
  /** Does it need cuDNN? */
  readonly needsCudnn?: boolean;
}

/** What computes shapes, of a few int64 each. */
const SHAPES = ['Concat', 'Div', 'Shape', 'Slice', 'Squeeze', 'Unsqueeze', 'Gather', 'Mul', 'Add', 'Max'];

/** What moves bits and computes nothing: bfloat16 that is on its way out, for which the provider has no kernel. */
const BITS = ['BitCast'];

/** Faults: it does not run, numbers are computed elsewhere, a model needs cuDNN. */
export function faultsOf({
  stage,
  model,
  precision,
  operators,
  elsewhere,
  error,
  needsCudnn,
}: PlacementCase): string[] {
  const name = `${stage}, ${model}, ${precision}`;
  if (error !== undefined) return [`${name}: ${error}`];
  if (operators === 0) return [`${name}: nothing runs on CUDA`];
  const numbers = elsewhere.filter((operator) => ![...SHAPES, ...BITS].includes(operator));
  return [
    ...numbers.map((operator) => `${name}: ${operator} runs on the CPU`),
    // A float16 store is looked through for its largest entry; the reference engine reduces.
    ...(needsCudnn && stage !== 'train, reference' && !(stage === 'harvest' && precision === 'float16')
      ? [`${name}: needs cuDNN`]
      : []),
  ];
}

export function readTrace(text: string): TraceCounts {
  const lines = text.split('\n').filter((line) => line !== '');
  const of = (start: string) => lines.filter((line) => line.startsWith(start));
  const bytes = (copies: readonly string[]) => copies.reduce((sum, line) => sum + Number(line.split(' ')[2]), 0);
  const [up, down] = [of('copy H2D'), of('copy D2H')];
  return {
    kernels: of('kernel ').length,
    products: of('product ').length,
    ...{ up: up.length, upBytes: bytes(up), down: down.length, downBytes: bytes(down) },
    waits: of('wait').length,
    tf32: of('product ').some((line) => /mode 3$/.test(line)),
  };
}
