import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';

/** Where Debian's package chromium has SwiftShader, a Vulkan that computes on the CPU, and a loader for it. */
const CHROMIUM = '/usr/lib/chromium';
const DRIVER = `${CHROMIUM}/vk_swiftshader_icd.json`;
const LOADER = `${CHROMIUM}/libvulkan.so.1`;
/** Keeps a library that is not a Node module, which dlopen would close again; not among Node's constants. */
const RTLD_NODELETE = 0x1000;

/**
 * Gives this process a WebGPU device that needs no GPU; one that the machine has, by VK_ICD_FILENAMES, is left alone.
 *
 * @returns why there is none, for a test's `skip`; false where there is one
 */
export async function noWebGpu(): Promise<string | false> {
  if (process.platform === 'linux' && process.env.VK_ICD_FILENAMES === undefined) {
    if (!existsSync(DRIVER) || !existsSync(LOADER)) return `there is no software Vulkan in ${CHROMIUM}`;
    process.env.VK_ICD_FILENAMES = DRIVER;
    try {
      process.dlopen({ exports: {} }, LOADER, constants.dlopen.RTLD_NOW | RTLD_NODELETE);
    } catch {
      // That it is not a Node module; it stays loaded anyway, and is found by its name.
    }
  }
  const { listSupportedBackends } = await onnxRuntime();
  if (!listSupportedBackends().some(({ name }) => name === 'webgpu')) return 'ONNX Runtime has no WebGPU here';
  const g = new GraphBuilder('probe');
  g.output('y', g.relu(g.input('x', 'float32', ['n'])), 'float32', ['n']);
  try {
    await (await openSession(g.encode(), { device: 'webgpu' })).release();
    return false;
  } catch (error) {
    return `WebGPU does not open here: ${(error as Error).message}`;
  }
}
