import { GraphBuilder } from '../onnx/graph.js';
import { onnxRuntime, openSession } from '../onnx/session.js';

/**
 * Run as a program of its own, with a device or the paths of shared libraries as arguments: providers and drivers may
 * write to standard error or bring their process down, and doctor must survive it and read what they wrote.
 */
const [kind, ...names] = process.argv.slice(2);
const answer = kind === 'device' ? await device(names[0]!) : libraries(names);
process.stdout.write(JSON.stringify(answer));

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
