import { onnxRuntime, openSession, type Session, type SessionOptions } from '../onnx/session.js';
import { Activations } from './activations.js';

/** Inputs and outputs of a graph over rows, by name: float32 [rows, width] each. */
interface RowGraphForm {
  readonly input: string;
  readonly outputs: Readonly<Record<string, number>>;
}

/** Max entries of one output held at a time: 64 MiB in float32. */
const CHUNK = 2 ** 24;

/** An open session of a graph that computes rows independently; rows are processed in chunks. */
export class RowGraph {
  /** Resolves once all requested work is done. */
  private before: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly session: Session,
    private readonly form: RowGraphForm,
  ) {}

  static async open(graph: Uint8Array, form: RowGraphForm, options: SessionOptions): Promise<RowGraph> {
    return new RowGraph(await openSession(graph, options), form);
  }

  /**
   * Outputs of chunks of rows, in order.
   *
   * @param take called with a chunk's outputs by name, and the number of its first row
   */
  each(x: Activations, take: (outputs: Readonly<Record<string, Activations>>, first: number) => void): Promise<void> {
    const work = this.inChunks(x, take);
    this.before = Promise.allSettled([this.before, work]).then(() => {});
    return work;
  }

  private async inChunks(x: Activations, take: Parameters<RowGraph['each']>[1]): Promise<void> {
    const { Tensor } = await onnxRuntime();
    const { input, outputs: widths } = this.form;
    const most = Math.max(1, Math.floor(CHUNK / Math.max(...Object.values(widths))));
    for (let first = 0; first < x.rows; first += most) {
      const data = x.data.subarray(first * x.width, Math.min(x.rows, first + most) * x.width);
      const found = await this.session.run({ [input]: new Tensor('float32', data, [data.length / x.width, x.width]) });
      const named = Object.entries(widths).map(([name, width]) => {
        return [name, new Activations(found[name]!.data as Float32Array, width)] as const;
      });
      take(Object.fromEntries(named), first);
    }
  }

  /** Outputs of all rows, by name. */
  async all(x: Activations): Promise<Readonly<Record<string, Activations>>> {
    const named = Object.entries(this.form.outputs).map(([name, width]) => {
      return [name, new Activations(new Float32Array(x.rows * width), width)] as const;
    });
    const whole = Object.fromEntries(named);
    await this.each(x, (outputs, first) => {
      for (const [name, { data, width }] of Object.entries(outputs)) whole[name]!.data.set(data, first * width);
    });
    return whole;
  }

  /** Resolves once nothing is running. */
  async release(): Promise<void> {
    await this.before;
    await this.session.release();
  }
}
