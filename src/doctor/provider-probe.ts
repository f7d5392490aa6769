import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';
import { type CudaTrial, tryCudaDevice } from '../train/engines/cuda/try-device.js';

/**
 * Run as a program of its own, with a device, the number of a GPU to train on, or the paths of shared libraries as
 * arguments: providers and drivers may write to standard error or bring their process down, and doctor must survive it
 * and read what they wrote.
 */
// Of an older Node, which opens its debugger on SIGUSR1 where nothing listens.
process.on('SIGUSR1', () => process.exit(1));
const [kind, ...names] = process.argv.slice(2);
const answers = { device, training, libraries: async () => libraries(names) };
const answer = await answers[kind as keyof typeof answers](names[0]!);
process.stdout.write(JSON.stringify(answer));

/** Has a GPU compute something through the CUDA engine's own device. */
async function training(ordinal: string): Promise<CudaTrial | { error: string }> {
  return tryCudaDevice(Number(ordinal)).catch((error: Error) => ({ error: error.message }));
}

/** Doubles a number on the device. */
async function device(name: string): Promise<{ error?: string }> {
  try {
    const g = new GraphBuilder('probe');
    const x = g.input('x', 'float32', [1]);
    g.output('y', g.add(x, x), 'float32', [1]);
    const session = await openSession(g.encode(), { device: name });
    const { Tensor } = await onnxRuntime();
    await session.run({ x: new Tensor('float32', Float32Array.of(1), [1]) });
    return {};
  } catch (error) {
    const { cause = error } = error as Error;
    return { error: cause instanceof Error ? cause.message : String(cause) };
  }
}

/** What the system's loader says of each library that it cannot load. */
function libraries(paths: readonly string[]): Record<string, string> {
  const missing: Record<string, string> = {};
  for (const path of paths) {
    try {
      process.dlopen({ exports: {} }, path);
    } catch (error) {
      // A library that is no Node module loads, and is then refused for that.
      const message = (error as Error).message;
      if (!message.startsWith('Module did not self-register')) missing[path] = message;
    }
  }
  return missing;
}
