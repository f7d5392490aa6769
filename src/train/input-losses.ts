import { GraphBuilder, type Value } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import type { StopRequest } from '../progress/progress.js';
import { stopRequested, throwIfStopped } from '../progress/stop.js';
import { centredInput, type LossInput, type ParameterValues } from '../sae/architecture.js';
import { skipped } from '../sae/forward-graph.js';
import { parametersOf, trainingOf } from '../sae/registry.js';
import { parameterShape, type Sae } from '../sae/sae.js';
import { type Engine, type EngineSettings, type Example, sizesOf } from './engines/engine.js';
import { optionsOf } from './engines/state.js';

/** Max feature activations held at a time: 128 MiB of float32. */
export const MOST_LOSS_ENTRIES = 2 ** 25;

/** Message of a stop in the meantime; the caller knows what is kept. */
export const INPUTS_STOPPED = 'inputs were sampled.';

/** The training loss of individual inputs. */
export interface InputLosses {
  /**
   * @param rows x [rows × d_in] scaled activations, and y [rows × d_out] if the target is not the input
   * @returns [rows]
   * @throws Interrupted if a stop was requested
   */
  of(rows: Example, stop?: StopRequest): Promise<Float64Array>;
  close(): Promise<void>;
}

/** Losses computed by an engine where its parameters are; undefined if it does not support that. */
export function engineLosses(engine: Engine, l1: number): InputLosses | undefined {
  if (!engine.losses) return undefined;
  return {
    async of(rows, stop = { signal: undefined }) {
      if (await stopRequested(stop)) throwIfStopped(stop, INPUTS_STOPPED);
      return engine.losses!(rows, l1);
    },
    close: async () => {},
  };
}

/**
 * The loss of single inputs under the current SAE, as one plain graph that is the same for every engine: resampling is
 * rare, and its draws must not depend on how steps are computed. Only with the CUDA engine, whose SAEs may be too large
 * for that, do they depend on its rounding (`engineLosses`).
 *
 * @param sae for scaled activations
 * @param l1 λ in the engines' convention
 */
export async function openInputLosses(sae: Sae, settings: EngineSettings, l1: number): Promise<InputLosses> {
  const { Tensor } = await onnxRuntime();
  const { dIn, dOut, dSae, parameters } = sae;
  const g = new GraphBuilder('input-losses');
  const w: ParameterValues = {};
  const weights: Record<string, InstanceType<typeof Tensor>> = {};
  for (const name of parametersOf(settings)) {
    const shape = parameterShape(name, sae);
    w[name] = g.input(name, 'float32', shape);
    weights[name] = new Tensor('float32', parameters[name]!, shape);
  }
  g.output('loss', lossOfEach(g, settings, w, l1), 'float32', ['rows']);
  const open = await openSession(g.encode(), settings);
  const chunk = Math.max(1, Math.floor(MOST_LOSS_ENTRIES / dSae));

  return {
    async of({ x, y }, stop = { signal: undefined }) {
      const rows = x.length / dIn;
      const losses = new Float64Array(rows);
      for (let first = 0; first < rows; first += chunk) {
        if (await stopRequested(stop)) throwIfStopped(stop, INPUTS_STOPPED);
        const last = Math.min(rows, first + chunk);
        const part = (values: Float32Array, d: number) =>
          new Tensor('float32', values.slice(first * d, last * d), [last - first, d]);
        const { loss } = await open.run({ x: part(x, dIn), ...(y && { y: part(y, dOut) }), ...weights });
        losses.set(loss!.data as Float32Array, first);
      }
      return losses;
    },
    close: () => open.release(),
  };
}

/** The terms of the training loss, summed per input: [rows]. */
function lossOfEach(g: GraphBuilder, settings: EngineSettings, w: ParameterValues, l1: number): Value {
  const loss = trainingOf(settings.architecture).loss(
    g,
    w,
    {
      ...{ ...examples(g, settings, w), sparsity: g.scalar(l1), sizes: sizesOf(settings) },
      dead: g.table('dead', [settings.dSae], new Float32Array(settings.dSae)),
    },
    optionsOf(settings),
  );
  return [loss.penalty, loss.auxiliary].reduce<Value>((sum, term) => (term ? g.add(sum, term) : sum), loss.mse);
}

/** Scaled rows as input of the loss. */
function examples(
  g: GraphBuilder,
  { dIn, dOut, skip }: EngineSettings,
  w: ParameterValues,
): Pick<LossInput, 'x' | 'y' | 'target'> {
  const x = g.input('x', 'float32', ['rows', dIn]);
  if (dOut === undefined) return { x: centredInput(g, w, x), y: x, target: x };
  const target = g.input('y', 'float32', ['rows', dOut]);
  const y = skip ? g.sub(target, skipped(g, w, x)) : target;
  return { x: { input: x, p: g.matmul(x, w.W_enc!) }, y, target };
}
