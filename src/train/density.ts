import type { Batch } from '../activations/activation-source.js';
import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import type { ParameterValues } from '../sae/architecture.js';
import { forward } from '../sae/forward-graph.js';
import { parametersOf } from '../sae/registry.js';
import { parameterShape, type Sae } from '../sae/sae.js';
import { widen } from '../safetensors/floats.js';
import type { Bins } from '../tensorboard/event.js';
import type { EngineSettings } from './engines/engine.js';

/** Max activations in the sample. */
const MOST_ROWS = 4096;
/** Max operations of the encoder over all of them: about a second on a few cores. */
const MOST_OPERATIONS = 2e11;
/** Entries of f held at a time: 16 MiB. */
export const DENSITY_ENTRIES = 2 ** 22;
/** Bins per decade, from 10⁻⁴ (samples are no larger) to 1. */
const [PER_DECADE, DECADES] = [8, 4];

/** Sample for measuring the density of features. */
export interface DensitySample {
  /** For scaled activations. */
  readonly sae: Sae;
  /** As passed to the engine, unscaled. */
  readonly batch: Batch;
  readonly settings: EngineSettings;
}

/** Histogram of features by log10 of the share of a batch on which they fire; silent ones are in no bin. */
export async function densityBins({ sae, batch, settings }: DensitySample): Promise<{ bins: Bins; silent: number }> {
  const { dIn, dSae } = sae;
  const rows = Math.max(1, Math.min(settings.batch, MOST_ROWS, Math.floor(MOST_OPERATIONS / (2 * dIn * dSae))));
  const x = widen(batch.x.subarray(0, rows * dIn), settings.batchDType).map((value) => value * settings.scale);
  const fired = await firings(sae, x, settings);
  const edges = Array.from({ length: PER_DECADE * DECADES + 1 }, (_, i) => i / PER_DECADE - DECADES);
  const counts = new Array<number>(edges.length - 1).fill(0);
  let silent = 0;
  for (const count of fired) {
    if (count === 0) silent++;
    // The last bin includes its upper edge, 1.
    else counts[Math.min(counts.length - 1, Math.floor((Math.log10(count / rows) + DECADES) * PER_DECADE))]!++;
  }
  return { bins: { edges, counts }, silent };
}

/** Number of rows on which each feature fires, [d_sae]. */
async function firings(sae: Sae, x: Float32Array, { threads }: EngineSettings): Promise<Uint32Array> {
  const { Tensor } = await onnxRuntime();
  const { dIn, dSae } = sae;
  const g = new GraphBuilder('density');
  const w: ParameterValues = {};
  const weights: Record<string, InstanceType<typeof Tensor>> = {};
  for (const name of parametersOf(sae)) {
    const shape = parameterShape(name, sae);
    w[name] = g.input(name, 'float32', shape);
    weights[name] = new Tensor('float32', sae.parameters[name]!, shape);
  }
  g.output('f', forward(g, sae, w, g.input('x', 'float32', ['rows', dIn])).f, 'float32', ['rows', dSae]);
  const session = await openSession(g.encode(), { threads });
  try {
    const fired = new Uint32Array(dSae);
    const chunk = Math.max(1, Math.floor(DENSITY_ENTRIES / dSae));
    for (let at = 0; at < x.length; at += chunk * dIn) {
      const part = x.slice(at, at + chunk * dIn);
      const { f } = await session.run({ x: new Tensor('float32', part, [part.length / dIn, dIn]), ...weights });
      const values = f!.data as Float32Array;
      for (let k = 0; k < values.length; k++) if (values[k]! > 0) fired[k % dSae]!++;
    }
    return fired;
  } finally {
    await session.release();
  }
}
