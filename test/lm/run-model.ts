import { chunkRows, evenChunks, tokenLosses } from '../../src/eval/splice-graph.js';
import { type Checkpoint, writeModel } from '../../src/lm/checkpoint.js';
import { findHook, type HookFunction, noHook } from '../../src/lm/hooks.js';
import type { Placement } from '../../src/lm/placement.js';
import { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';

/** The .onnx file that gives every hook. */
export function hooksGraph(checkpoint: Checkpoint, context: number, placement?: Placement): Uint8Array {
  const g = new GraphBuilder('all-hooks');
  const input = g.input('tokens', 'int64', ['batch', context]);
  const widths = new Map(checkpoint.config.hooks.map(({ name, width }) => [name, width]));
  writeModel(g, checkpoint, context, placement).residual(input, (name, value) => {
    g.output(name, value, 'float32', ['batch', context, widths.get(name)!]);
    return value;
  });
  return g.encode();
}

/** Every hook's values over contexts of `context` tokens, by name. */
export async function runHooks(
  checkpoint: Checkpoint,
  tokens: Int32Array,
  context: number,
  placement?: Placement,
): Promise<Map<string, Float32Array>> {
  const { Tensor } = await onnxRuntime();
  const session = await openSession(hooksGraph(checkpoint, context, placement));
  const feed = new Tensor('int64', BigInt64Array.from(tokens, BigInt), [tokens.length / context, context]);
  const outputs = await session.run({ tokens: feed });
  const values = new Map(Object.entries(outputs).map(([name, { data }]) => [name, (data as Float32Array).slice()]));
  await session.release();
  return values;
}

/** The .onnx file of every next token's loss, through eval's chunks. */
export function lossGraph(
  checkpoint: Checkpoint,
  context: number,
  placement?: Placement,
  hook: (g: GraphBuilder) => HookFunction = () => noHook,
): Uint8Array {
  const g = new GraphBuilder('loss');
  const input = g.input('tokens', 'int64', ['batch', context]);
  const rows = g.input('rows', 'int64', ['rows']);
  const targets = g.input('targets', 'int64', ['rows']);
  const lm = writeModel(g, checkpoint, context, placement);
  const residual = lm.residual(input, hook(g));
  const hidden = g.reshape(lm.finalNorm(residual), 1, -1, checkpoint.config.hidden);
  const { nll } = tokenLosses(g, {
    hidden: g.gather(hidden, rows, 1),
    logits: (h, body) => lm.logits(h, body),
    targets,
    chunks: g.input('chunks', 'int64', [1]),
    variants: 1,
    compared: 1,
  });
  g.output('nll', nll, 'float32', ['chunks', 1, 'chunk']);
  return g.encode();
}

/** −log p of every next token of the contexts, through eval's chunked loss. */
export async function nextTokenLosses(
  checkpoint: Checkpoint,
  tokens: Int32Array,
  context: number,
  chunk = chunkRows(checkpoint.config.vocabulary, 1),
  placement?: Placement,
  hook?: (g: GraphBuilder) => HookFunction,
): Promise<Float32Array> {
  const { Tensor } = await onnxRuntime();
  const session = await openSession(lossGraph(checkpoint, context, placement, hook));
  const positions = [...tokens.keys()].filter((i) => i % context < context - 1);
  const even = evenChunks(positions.length, chunk);
  const int64 = (values: number[], length = even.chunks * even.chunk) => {
    const data = new BigInt64Array(length);
    for (const [i, value] of values.entries()) data[i] = BigInt(value);
    return new Tensor('int64', data, [length]);
  };
  const outputs = await session.run({
    tokens: new Tensor('int64', BigInt64Array.from(tokens, BigInt), [tokens.length / context, context]),
    rows: int64(positions),
    targets: int64(positions.map((i) => tokens[i + 1]!)),
    chunks: int64([even.chunks], 1),
  });
  await session.release();
  return (outputs.nll!.data as Float32Array).slice(0, positions.length);
}

/** Direct logits of some directions [n, width] at a hook; null where there is no linear path. */
export async function runDirectLogits(
  checkpoint: Checkpoint,
  name: string,
  directions: Float32Array,
): Promise<Float32Array | null> {
  const hook = findHook(name, checkpoint.config);
  const g = new GraphBuilder('direct');
  const input = g.input('directions', 'float32', ['n', hook.width]);
  const logits = writeModel(g, checkpoint, 4).directLogits(hook, input);
  if (logits === null) return null;
  g.output('logits', logits, 'float32', ['n', checkpoint.config.vocabulary]);
  const { Tensor } = await onnxRuntime();
  const session = await openSession(g.encode());
  const rows = directions.length / hook.width;
  const outputs = await session.run({ directions: new Tensor('float32', directions, [rows, hook.width]) });
  await session.release();
  return outputs.logits!.data as Float32Array;
}
