import type { Device } from './session.js';

/**
 * A remark on float32 products on a device: ONNX Runtime computes them in TF32 on CUDA, and its Node binding has no
 * option for that; undefined if not applicable.
 */
export function tf32Remark(
  device: Device,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string | undefined {
  if (!device.startsWith('cuda') || environment.NVIDIA_TF32_OVERRIDE === '0') return undefined;
  return 'Float32 products are computed in TF32 on CUDA: operands are rounded to 10 bits of mantissa. Set NVIDIA_TF32_OVERRIDE=0 in the environment for float32.';
}

/** Reports it, if applicable. */
export function sayTf32(say: (line: string) => void, device: Device): void {
  const remark = tf32Remark(device);
  if (remark !== undefined) say(remark);
}
