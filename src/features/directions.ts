import { type Checkpoint, writeModel } from '../lm/checkpoint.js';
import type { Hook } from '../lm/hooks.js';
import type { Placement } from '../lm/placement.js';
import { GraphBuilder, type Value } from '../onnx/graph.js';
import { onnxRuntime, openSession, type Session, type SessionOptions } from '../onnx/session.js';
import { asFloat32, storedWeight } from '../onnx/weight.js';
import type { SaeFiles } from '../sae/saelens.js';

// What the directions of an SAE alone determine, without text: rows of W_dec, columns of W_enc.

/** Norm assigned to a direction of zeros, to avoid dividing by 0: its cosine with any other is 0. */
const TINY = 1e-30;
/** Less than any cosine; masks the cosine of a direction with itself. */
const ITSELF = -2;
/** Entries of the matrices whose largest values are selected: 64 MiB in float32. */
const CHUNK = 2 ** 24;
/** Directions compared with all others at a time. */
const LEFT = 1024;

export type Side = 'decoder' | 'encoder';

/** The `most` largest of a list, descending; ties keep their order. */
interface Best {
  readonly indices: number[];
  readonly values: number[];
}

const range = (g: GraphBuilder, name: string) => {
  const bounds = g.input(name, 'int64', [2]);
  return { first: g.slice(bounds, 0, 1, 0), end: g.slice(bounds, 1, 2, 0) };
};

/** Directions [n, width] of a range: rows of W_dec, or columns of W_enc as rows. */
function directionsOf(g: GraphBuilder, { tensors }: SaeFiles, side: Side, { first, end }: ReturnType<typeof range>) {
  const name = side === 'decoder' ? 'W_dec' : 'W_enc';
  const location = tensors[name]!;
  const stored = asFloat32(g, storedWeight(g, name, location), location);
  const cut = g.op('Slice', [stored, first, end, g.ints(side === 'decoder' ? 0 : 1)]);
  return side === 'decoder' ? cut : g.op('Transpose', [cut], { perm: [1, 0] });
}

const normOf = (g: GraphBuilder, rows: Value) => g.op('Sqrt', [g.reduceSumSquare(rows, [1], true)]);
const unit = (g: GraphBuilder, rows: Value) => g.div(rows, g.op('Max', [normOf(g, rows), g.scalar(TINY)]));

/** Feeds of a range. */
async function bounds(first: number, end: number) {
  const { Tensor } = await onnxRuntime();
  return new Tensor('int64', BigInt64Array.of(BigInt(first), BigInt(end)), [2]);
}

/** Per feature, [d_sae]. */
export interface Norms {
  /** |W_dec[j]| and |W_enc[:, j]| */
  readonly decoder: Float32Array;
  readonly encoder: Float32Array;
  /** cos(W_enc[:, j], W_dec[j]); NaN if the two have different widths. */
  readonly cosine: Float32Array;
}

/** Norms of all directions, and the cosine between each feature's encoder and decoder direction. */
export async function directionNorms(sae: SaeFiles, options: SessionOptions): Promise<Norms> {
  const { dSae, dIn, dOut } = sae;
  const g = new GraphBuilder('norms');
  const cut = range(g, 'range');
  const [decoder, encoder] = [directionsOf(g, sae, 'decoder', cut), directionsOf(g, sae, 'encoder', cut)];
  g.output('decoder', g.reshape(normOf(g, decoder), -1), 'float32', ['n']);
  g.output('encoder', g.reshape(normOf(g, encoder), -1), 'float32', ['n']);
  if (dIn === dOut) {
    const cosine = g.reduceSum(g.mul(unit(g, decoder), unit(g, encoder)), [1]);
    g.output('cosine', cosine, 'float32', ['n']);
  }
  const norms = { decoder: new Float32Array(dSae), encoder: new Float32Array(dSae), cosine: new Float32Array(dSae) };
  norms.cosine.fill(Number.NaN);
  const session = await openSession(g.encode(), options);
  try {
    const rows = Math.max(1, Math.floor(CHUNK / Math.max(dIn, dOut)));
    for (let first = 0; first < dSae; first += rows) {
      const outputs = await session.run({ range: await bounds(first, Math.min(dSae, first + rows)) });
      for (const [name, { data }] of Object.entries(outputs)) {
        norms[name as keyof typeof norms].set(data as Float32Array, first);
      }
    }
  } finally {
    await session.release();
  }
  return norms;
}

/** Answers queries about a range of directions. */
export interface DirectionSession {
  /** The best for each direction in [first, end). */
  of(first: number, end: number): Promise<Best[]>;
  release(): Promise<void>;
}

/** The `most` nearest directions of each by cosine, excluding itself. */
export async function openNearest(
  sae: SaeFiles,
  side: Side,
  most: number,
  options: SessionOptions,
): Promise<DirectionSession> {
  const { dSae } = sae;
  const right = Math.max(1, Math.floor(CHUNK / LEFT));
  const session = await openSession(nearestGraph(sae, side), options);
  const { Tensor } = await onnxRuntime();
  const block = async (first: number, end: number): Promise<Best[]> => {
    const best = Array.from({ length: end - first }, (): Best => ({ indices: [], values: [] }));
    for (let from = 0; from < dSae; from += right) {
      const to = Math.min(dSae, from + right);
      const k = new Tensor('int64', BigInt64Array.of(BigInt(Math.min(most, to - from))), [1]);
      const outputs = await session.run({ left: await bounds(first, end), right: await bounds(from, to), k });
      const [values, indices] = [outputs.values!.data as Float32Array, outputs.indices!.data as BigInt64Array];
      const each = values.length / best.length;
      for (const [i, one] of best.entries()) {
        const found = Array.from({ length: each }, (_, r) => i * each + r).filter((at) => values[at]! > ITSELF);
        const other = {
          indices: found.map((at) => from + Number(indices[at])),
          values: found.map((at) => values[at]!),
        };
        best[i] = merged(one, other, most);
      }
    }
    return best;
  };
  return {
    async of(first, end) {
      const best: Best[] = [];
      for (let at = first; at < end; at += LEFT) best.push(...(await block(at, Math.min(end, at + LEFT))));
      return best;
    },
    release: () => session.release(),
  };
}

/** Inputs `left` and `right` int64 [2], ranges; `k` int64 [1]. Outputs [left, k]: `values`, cosines, and `indices` in right. */
function nearestGraph(sae: SaeFiles, side: Side): Uint8Array {
  const g = new GraphBuilder('nearest');
  const sides = (['left', 'right'] as const).map((name) => {
    const cut = range(g, name);
    const indices = g.op('Range', [g.op('Squeeze', [cut.first]), g.op('Squeeze', [cut.end]), g.int(1)]);
    return { unit: unit(g, directionsOf(g, sae, side, cut)), indices };
  });
  const [left, right] = sides as [(typeof sides)[0], (typeof sides)[0]];
  const itself = g.op('Equal', [g.reshape(left.indices, -1, 1), g.reshape(right.indices, 1, -1)]);
  const cosines = g.op('Where', [itself, g.scalar(ITSELF), g.matmul(left.unit, right.unit, { transB: true })]);
  const [values, indices] = g.ops('TopK', [cosines, g.input('k', 'int64', [1])], 2, { axis: 1 });
  g.output('values', values!, 'float32', ['left', 'k']);
  g.output('indices', indices!, 'int64', ['left', 'k']);
  return g.encode();
}

/** Merges two lists; all indices of the second are above those of the first. */
function merged(a: Best, b: Best, most: number): Best {
  const both: Best = { indices: [], values: [] };
  for (let i = 0, j = 0; both.values.length < most && (i < a.values.length || j < b.values.length); ) {
    const second = i === a.values.length || (j < b.values.length && b.values[j]! > a.values[i]!);
    const from = second ? b : a;
    const at = second ? j++ : i++;
    both.indices.push(from.indices[at]!);
    both.values.push(from.values[at]!);
  }
  return both;
}

/** The tokens whose logits a direction raises and lowers most. */
export interface LogitEffects {
  readonly top: Best;
  readonly bottom: Best;
}

/** Direct logit effects of rows of W_dec. */
export interface LogitSession {
  of(first: number, end: number): Promise<LogitEffects[]>;
  release(): Promise<void>;
}

/**
 * The `most` tokens at either end of each feature's direct logit effects (ModelGraph.directLogits).
 *
 * @param hook where the SAE's output is added
 * @returns null if there is no linear path from there to the logits
 */
export async function openLogitEffects(
  checkpoint: Checkpoint,
  sae: SaeFiles,
  { hook, placement, most }: { readonly hook: Hook; readonly placement: Placement; readonly most: number },
  options: SessionOptions,
): Promise<LogitSession | null> {
  const { vocabulary } = checkpoint.config;
  const g = new GraphBuilder('direct-logits');
  const directions = directionsOf(g, sae, 'decoder', range(g, 'range'));
  // No tokens are fed: the context length does not matter.
  const logits = writeModel(g, checkpoint, 1, placement).directLogits(hook, directions);
  if (logits === null) return null;
  const k = g.ints(Math.min(most, vocabulary));
  for (const [name, largest] of [
    ['top', 1],
    ['bottom', 0],
  ] as const) {
    const [values, indices] = g.ops('TopK', [logits, k], 2, { axis: 1, largest });
    g.output(name, values!, 'float32', ['n', 'k']);
    g.output(`${name}_tokens`, indices!, 'int64', ['n', 'k']);
  }
  const session: Session = await openSession(g.encode(), options);
  const rows = Math.max(1, Math.floor(CHUNK / vocabulary));
  return {
    async of(first, end) {
      const effects: LogitEffects[] = [];
      for (let at = first; at < end; at += rows) {
        const count = Math.min(rows, end - at);
        const outputs = await session.run({ range: await bounds(at, at + count) });
        for (let i = 0; i < count; i++) {
          const bestOf = (name: 'top' | 'bottom'): Best => {
            const [values, tokens] = [outputs[name]!, outputs[`${name}_tokens`]!];
            const each = values.data.length / count;
            return {
              values: [...(values.data as Float32Array).subarray(i * each, (i + 1) * each)],
              indices: Array.from((tokens.data as BigInt64Array).subarray(i * each, (i + 1) * each), Number),
            };
          };
          effects.push({ top: bestOf('top'), bottom: bestOf('bottom') });
        }
      }
      return effects;
    },
    release: () => session.release(),
  };
}
