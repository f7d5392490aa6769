import type { Tensor } from 'onnxruntime-node';
import type { Batch } from '../../../activations/activation-source.js';
import type { ActivationArray } from '../../../activations/rows.js';
import { float16Tensors, onnxRuntime, openSession } from '../../../onnx/session.js';
import { trainingOf } from '../../../sae/registry.js';
import type { Sae } from '../../../sae/sae.js';
import { widen } from '../../../safetensors/floats.js';
import type { Engine, EngineSettings, StepMetrics, StepSettings, TrainerState } from '../engine.js';
import { checkSizes, saeOf, stateShapes } from '../state.js';
import { fedType, METRICS, stepGraph } from './step-graph.js';

/**
 * The reference engine: the complete step is one dense ONNX graph, on any execution provider.
 *
 * @param start parameters, or a complete state to continue from; missing parts of the state start at zero
 * @param steps steps already done
 */
export async function openReferenceEngine(settings: EngineSettings, start: TrainerState, steps = 0): Promise<Engine> {
  checkSizes(start, settings, 'start');
  const { Tensor } = await onnxRuntime();
  const float16Tensor = await float16Tensors();
  const session = await openSession(stepGraph(settings), settings);
  const { batch, dIn, dOut, beta1, beta2 } = settings;
  const { penalised } = trainingOf(settings.architecture);

  // Two copies of the state: a step reads one and writes the other.
  const tensors = (values: (name: string, size: number) => Float32Array) => {
    const map = new Map<string, Tensor>();
    for (const [name, shape] of stateShapes(settings)) {
      const size = shape.reduce((product, dim) => product * dim, 1);
      map.set(name, new Tensor('float32', values(name, size), shape));
    }
    return map;
  };
  let current = tensors((name, size) => start.get(name)?.slice() ?? new Float32Array(size));
  let next = tensors((_, size) => new Float32Array(size));
  const metricsTensor = new Tensor('float32', new Float32Array(METRICS.length), [METRICS.length]);
  const scalar = (value: number) => new Tensor('float32', Float32Array.of(value), []);

  const fed = fedType(settings);
  // For 16-bit floats that the graph expects as float32.
  const wide = new Map<string, Float32Array>();
  const widened = (name: string, bits: Uint16Array) => {
    const into = widen(bits, settings.batchDType, wide.get(name));
    wide.set(name, into);
    return into;
  };
  const rows = (name: string, values: ActivationArray, width: number) => {
    if (values instanceof Float32Array) return new Tensor('float32', values, [batch, width]);
    if (fed === 'float16') return float16Tensor(values, [batch, width]);
    return new Tensor('float32', widened(name, values), [batch, width]);
  };

  async function step({ x, y }: Batch, { lr, l1 }: StepSettings): Promise<StepMetrics> {
    steps++;
    const feeds: Record<string, Tensor> = {
      ...{ x: rows('x', x, dIn), lr: scalar(lr), correction2: scalar(1 / (1 - beta2 ** steps)) },
      ...(dOut !== undefined && { y: rows('y', y!, dOut) }),
      // A graph that does not need it has no such input.
      ...(penalised && { l1: scalar(l1) }),
      ...(beta1 > 0 && { correction1: scalar(1 / (1 - beta1 ** steps)) }),
    };
    const fetches: Record<string, Tensor> = { metrics: metricsTensor };
    for (const [name, tensor] of current) feeds[name] = tensor;
    for (const [name, tensor] of next) fetches[`next/${name}`] = tensor;
    await session.run(feeds, fetches);
    [current, next] = [next, current];
    const values = metricsTensor.data as Float32Array;
    return Object.fromEntries(METRICS.map((name, i) => [name, values[i]!])) as unknown as StepMetrics;
  }

  const state = async () =>
    new Map([...current].map(([name, tensor]) => [name, (tensor.data as Float32Array).slice()]));

  return {
    step,
    get steps() {
      return steps;
    },
    async sae(): Promise<Sae> {
      return saeOf(settings, await state());
    },
    state,
    async load(state) {
      checkSizes(state, settings, 'whole');
      for (const [name, tensor] of current) (tensor.data as Float32Array).set(state.get(name)!);
    },
    close: () => session.release(),
  };
}
