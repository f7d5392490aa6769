import { Refusal } from '../../errors/refusal.js';
import { isWeightDType } from '../../onnx/weight.js';
import { readSafetensorsHeader } from '../../safetensors/file.js';
import { readFloats, readTensorBytes } from '../../safetensors/floats.js';
import { readNpzTensors } from '../../safetensors/npz.js';
import { type PthTensor, readPthTensorsOfAnyOrder } from '../../safetensors/pth.js';

type Values = () => Promise<Float32Array>;

const AGAIN = 'Download the SAE again; its files must be of one SAE.';

/** The tensors of a weights file, accessed by name and shape. */
export class Tensors {
  private constructor(
    readonly path: string,
    private readonly found: ReadonlyMap<string, PthTensor>,
  ) {}

  /** @throws Refusal if the file is missing or damaged */
  static async open(path: string): Promise<Tensors> {
    if (path.endsWith('.npz')) return new Tensors(path, await readNpzTensors(path));
    if (path.endsWith('.safetensors')) return new Tensors(path, (await readSafetensorsHeader(path)).tensors);
    return new Tensors(path, await readPthTensorsOfAnyOrder(path));
  }

  has(name: string): boolean {
    return this.found.has(name);
  }

  /** The first of several spellings that exists; the first of all if none does. */
  spelling(...names: readonly string[]): string {
    return names.find((name) => this.has(name)) ?? names[0]!;
  }

  /** Names, for messages. */
  get names(): readonly string[] {
    return [...this.found.keys()];
  }

  /** @throws Refusal if it is missing */
  shape(name: string): readonly number[] {
    return this.of(name).shape;
  }

  /** Rows and columns of a matrix. @throws Refusal if it is missing or not a matrix */
  matrix(name: string): readonly [rows: number, columns: number] {
    const { shape } = this.of(name);
    const [rows, columns] = shape;
    if (shape.length === 2 && rows! > 0 && columns! > 0) return [rows!, columns!];
    throw this.wrongShape(name, shape, 'a matrix is required');
  }

  /** Values [shape], row-major. @throws Refusal if it is missing or has another shape or type */
  values(name: string, ...shape: readonly number[]): Values {
    const tensor = this.checked(name, shape);
    return async () => {
      const values = await readFloats(tensor, name);
      return tensor.columnMajor ? transposed(values, shape[1]!, shape[0]!) : values;
    };
  }

  /** Values of the transpose [columns, rows] of a matrix stored as [rows, columns]. */
  transposed(name: string, rows: number, columns: number): Values {
    const tensor = this.checked(name, [rows, columns]);
    return async () => {
      const values = await readFloats(tensor, name);
      return tensor.columnMajor ? values : transposed(values, rows, columns);
    };
  }

  /** One number per feature; may be stored as one for all. */
  perFeature(name: string, features: number): Values {
    const { shape } = this.of(name);
    if (shape.length === 1 && shape[0] === features && features > 1) return this.values(name, features);
    const one = this.values(name, ...(shape.length === 0 ? [] : [1]));
    return async () => new Float32Array(features).fill((await one())[0]!);
  }

  /** Integers of a small tensor. @throws Refusal if it is missing, large, or of another type */
  async integers(name: string): Promise<number[]> {
    const tensor = this.of(name);
    const { dtype, length } = tensor;
    if (!(dtype === 'I32' || dtype === 'I64') || length > 2 ** 16) {
      throw new Refusal(`${this.path}: ${name} is not a list of integers.`, AGAIN, 'sae/wrong-dtype');
    }
    const { buffer } = await readTensorBytes(tensor);
    return dtype === 'I32' ? [...new Int32Array(buffer)] : [...new BigInt64Array(buffer)].map(Number);
  }

  private of(name: string): PthTensor {
    const tensor = this.found.get(name);
    if (tensor) return tensor;
    throw new Refusal(`${this.path} lacks ${name}, a parameter of its layout.`, AGAIN, 'sae/parameter-missing');
  }

  private checked(name: string, shape: readonly number[]): PthTensor {
    const tensor = this.of(name);
    if (tensor.shape.join() !== shape.join()) {
      throw this.wrongShape(name, tensor.shape, `[${shape.join(', ')}] is required`);
    }
    if (!isWeightDType(tensor.dtype) && tensor.dtype !== 'F64') {
      throw new Refusal(
        `${this.path}: ${name} is ${tensor.dtype}; supported are F64, F32, F16 and BF16.`,
        'Save the SAE in one of these types.',
        'sae/wrong-dtype',
      );
    }
    return tensor;
  }

  private wrongShape(name: string, shape: readonly number[], wanted: string): Refusal {
    return new Refusal(
      `${this.path}: ${name} has shape [${shape.join(', ')}], but ${wanted}.`,
      AGAIN,
      'sae/wrong-shape',
    );
  }
}

/** Block size for storing a matrix, so that both sides of a transposition stay in the cache. */
const BLOCK = 32;

/** The transpose of W [rows, columns], row-major. */
export function transposed(W: Float32Array, rows: number, columns: number): Float32Array {
  const T = new Float32Array(W.length);
  for (let top = 0; top < rows; top += BLOCK) {
    const bottom = Math.min(rows, top + BLOCK);
    for (let left = 0; left < columns; left += BLOCK) {
      const right = Math.min(columns, left + BLOCK);
      for (let i = top; i < bottom; i++) for (let j = left; j < right; j++) T[j * rows + i] = W[i * columns + j]!;
    }
  }
  return T;
}

/** Multiplies values by a factor. */
export const scaled =
  (values: Values, factor: number): Values =>
  async () =>
    factor === 1 ? values() : (await values()).map((value) => value * factor);

/** exp of values. */
export const exponential =
  (values: Values): Values =>
  async () =>
    (await values()).map(Math.exp);

/**
 * Folds a factor on the activations (x s in, x̂ / s out) into the parameters of an SAE trained with it; f is unchanged.
 *
 * @param parameters of the SAE; the encoder matrices, the decoder and b_dec are changed
 */
export function foldScale<T extends Partial<Record<string, Values>>>(parameters: T, s: number): T {
  const folded: Record<string, Values | undefined> = { ...parameters };
  for (const name of ['W_enc', 'W_mag']) if (folded[name]) folded[name] = scaled(folded[name], s);
  for (const name of ['W_dec', 'b_dec']) if (folded[name]) folded[name] = scaled(folded[name], 1 / s);
  return folded as T;
}
