import { writeModel } from '../lm/checkpoint.js';
import { hookAt } from '../lm/hooks.js';
import { gradients } from '../onnx/gradient.js';
import { GraphBuilder, type Value } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import { NoGradient } from '../onnx/shapes.js';
import { decodedGradient } from '../sae/feature-step.js';
import { storedParameters } from '../sae/forward-graph.js';
import type { Active, AttributedLogit, AttributedText } from './attribution.js';

const gradientOutput = (k: number) => `sae${k}/gradient`;

/**
 * A graph of the gradient of a sum of logits after the last token with respect to SAE features: back through every
 * block above their hooks, the final norm and the unembedding.
 *
 * Inputs: `tokens` int64 [1, context]; `ids` int64 [1, n] and `signs` float32 [1, n], the logits and their
 * coefficients. Outputs: gradientOutput(k) for each SAE, float32 [context, d_sae].
 *
 * @throws NoGradient if the placement or an operator of the model does not support gradients
 */
export function gradientGraph({
  checkpoint,
  placement,
  saes,
  tokens: { length: context },
}: AttributedText): Uint8Array {
  if (placement.device !== 'cpu' || placement.precision !== 'float32') {
    throw new NoGradient('gradients are computed in float32 on a CPU only');
  }
  const g = new GraphBuilder('gradient');
  const tokens = g.input('tokens', 'int64', [1, context]);
  const seen = new Map<string, Value>();
  const targets = new Set(saes.map(({ hook }) => hook.name));
  const hook = hookAt(
    saes.flatMap(({ hook, input }) => [hook.name, input.name]),
    (name, value) => {
      // A separate value: the model may also use the original elsewhere, where no SAE changes it.
      const own = targets.has(name) ? g.op('Identity', [value]) : value;
      seen.set(name, own);
      return own;
    },
  );
  const lm = writeModel(g, checkpoint, context, placement);
  const hidden = lm.finalNorm(lm.residual(tokens, hook));
  const last = g.reshape(g.slice(hidden, context - 1, context, 1), 1, checkpoint.config.hidden);
  const picked = g.op('GatherElements', [lm.logits(last), g.input('ids', 'int64', [1, 'n'])], { axis: 1 });
  const target = g.reduceSum(g.mul(picked, g.input('signs', 'float32', [1, 'n'])), [0, 1]);
  const found = gradients(
    g,
    target,
    saes.map(({ hook }) => seen.get(hook.name)!),
  );
  for (const [k, { files, hook, input }] of saes.entries()) {
    const w = storedParameters(g, files, `sae${k}/`);
    const ofHook = found.get(seen.get(hook.name)!);
    if (ofHook === undefined) throw new NoGradient(`no logit depends on ${hook.name}`);
    const gradient = g.reshape(ofHook, context, files.dOut);
    const x = g.reshape(seen.get(input.name)!, context, files.dIn);
    g.output(gradientOutput(k), decodedGradient(g, files, w, gradient, x), 'float32', [context, files.dSae]);
  }
  return g.encode();
}

/**
 * Activation × gradient: f · ∂logit/∂f of each activation.
 *
 * @param graph gradientGraph of the text
 */
export async function gradientEffects(
  { placement, threads, saes, tokens }: AttributedText,
  graph: Uint8Array,
  active: readonly Active[],
  { token, minus }: AttributedLogit,
): Promise<number[]> {
  const { Tensor } = await onnxRuntime();
  const session = await openSession(graph, { device: placement.device, threads });
  try {
    const ids = minus === undefined ? [token] : [token, minus];
    const signs = Float32Array.from(ids, (_, i) => (i === 0 ? 1 : -1));
    const outputs = await session.run({
      tokens: new Tensor('int64', BigInt64Array.from(tokens, BigInt), [1, tokens.length]),
      ids: new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
      signs: new Tensor('float32', signs, [1, ids.length]),
    });
    const of = saes.map((_, k) => outputs[gradientOutput(k)]!.data as Float32Array);
    return active.map((one) => one.activation * of[one.of]![one.position * saes[one.of]!.files.dSae + one.feature]!);
  } finally {
    await session.release();
  }
}
