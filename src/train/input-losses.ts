import { GraphBuilder, type Value } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import { heard } from '../progress/heard.js';
import type { StopRequest } from '../progress/progress.js';
import { throwIfStopped } from '../progress/unless-stopped.js';
import {
  decode,
  gatedEncoder,
  type ParameterValues,
  preActivation,
  standardEncoder,
  untiedEncoder,
} from '../sae/forward-graph.js';
import { PARAMETERS, parameterShape, type Sae } from '../sae/sae.js';
import type { Objective } from './engines/objective.js';

/** Most feature activations that exist at a time: 128 MiB of float32. */
export const MOST_ENTRIES = 2 ** 25;

/** What a stop meanwhile says; who asked for the losses knows what is kept. */
export const STOPPED = 'inputs were looked at.';

/** The training loss of inputs one by one. */
export interface InputLosses {
  /**
   * @param x [rows × d_in] scaled activations
   * @returns [rows]
   * @throws Interrupted where a stop was asked for
   */
  of(x: Float32Array, stop?: StopRequest): Promise<Float64Array>;
  close(): Promise<void>;
}

/**
 * The loss of single inputs under an SAE as it stands, as one plain graph that is the same for every engine:
 * resampling is rare, and its draws must not depend on how steps are computed.
 *
 * @param sae of scaled activations
 * @param l1 λ in the engines' convention
 */
export async function openInputLosses(
  sae: Sae,
  objective: Objective,
  l1: number,
  session: { readonly device?: string; readonly threads?: number },
): Promise<InputLosses> {
  const { Tensor } = await onnxRuntime();
  const { architecture, dIn, dSae, parameters } = sae;
  const g = new GraphBuilder('input-losses');
  const x = g.input('x', 'float32', ['rows', dIn]);
  const w: ParameterValues = {};
  const weights: Record<string, InstanceType<typeof Tensor>> = {};
  for (const name of PARAMETERS[architecture]) {
    const shape = parameterShape(name, dIn, dSae);
    w[name] = g.input(name, 'float32', shape);
    weights[name] = new Tensor('float32', parameters[name]!, shape);
  }
  g.output('loss', lossOfEach(g, sae, objective, w, x, l1), 'float32', ['rows']);
  const open = await openSession(g.encode(), session);
  const chunk = Math.max(1, Math.floor(MOST_ENTRIES / dSae));

  return {
    async of(values, stop = { signal: undefined }) {
      const rows = values.length / dIn;
      const losses = new Float64Array(rows);
      for (let first = 0; first < rows; first += chunk) {
        if (await heard(stop)) throwIfStopped(stop, STOPPED);
        const last = Math.min(rows, first + chunk);
        const part = new Tensor('float32', values.slice(first * dIn, last * dIn), [last - first, dIn]);
        const { loss } = await open.run({ x: part, ...weights });
        losses.set(loss!.data as Float32Array, first);
      }
      return losses;
    },
    close: () => open.release(),
  };
}

/** |x − x̂|² + λ Σ_j (…) + |x − x̂_aux|², [rows]: the terms of the step that trains (paper, eq. 8; baseline). */
function lossOfEach(
  g: GraphBuilder,
  { architecture }: Sae,
  { auxiliary, l1OnF }: Objective,
  w: ParameterValues,
  x: Value,
  l1: number,
): Value {
  const squaredError = (f: Value) => g.reduceSumSquare(g.sub(decode(g, w, f), x), [1]);
  const penalty = (f: Value) => g.mul(g.reduceSum(f, [1]), g.scalar(l1));
  const { centred, p } = preActivation(g, w, x);
  if (architecture === 'standard') {
    const f = standardEncoder(g, w, p);
    return g.add(squaredError(f), penalty(f));
  }
  const { piGate, f } = architecture === 'gated' ? gatedEncoder(g, w, p) : untiedEncoder(g, w, centred, p);
  const reluGate = g.relu(piGate);
  const loss = g.add(squaredError(f), penalty(l1OnF ? f : reluGate));
  return auxiliary ? g.add(loss, squaredError(reluGate)) : loss;
}
