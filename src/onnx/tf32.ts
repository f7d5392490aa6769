import type { Device } from './session.js';

/**
 * What is to be said of products of float32 on a device: ONNX Runtime has CUDA compute them in TF32, and its binding for
 * Node has no switch for that; undefined where there is nothing to say.
 */
export function tf32Remark(
  device: Device,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string | undefined {
  if (!device.startsWith('cuda') || environment.NVIDIA_TF32_OVERRIDE === '0') return undefined;
  return 'Products of float32 are TF32 on CUDA: what they multiply is rounded to 10 bits of mantissa. NVIDIA_TF32_OVERRIDE=0 in the environment makes them float32.';
}

/** Says it, if there is something to say. */
export function sayTf32(say: (line: string) => void, device: Device): void {
  const remark = tf32Remark(device);
  if (remark !== undefined) say(remark);
}
