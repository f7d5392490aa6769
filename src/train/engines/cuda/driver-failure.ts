import { Refusal } from '../../../errors/refusal.js';

/** What a driver's function answered: a CUresult of cuda.h, its name, and the driver's own words. */
export interface DriverStatus {
  readonly code: number;
  readonly name: string;
  readonly text: string;
}

/** CUresults that the device looks at. */
export const SUCCESS = 0;
export const INVALID_VALUE = 1;
export const OUT_OF_MEMORY = 2;
export const NOT_FOUND = 500;
export const NOT_READY = 600;

/** After these the context answers nothing else: the run is over. */
const LOST = new Set([46, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810, 999]);
/** The compiled kernels do not suit the driver or the card. */
const UNSUITED = new Set([200, 209, 218, 221, 222, 223]);
/** The driver's library and its kernel module do not suit one another or the card. */
const DRIVER_AMISS = new Set([3, 34, 36, 802, 803, 804]);

/** Did the GPU fail in a way from which the process cannot go on? */
export function isLost({ code }: DriverStatus): boolean {
  return LOST.has(code);
}

/** @param call the function, or what it was to do */
export function driverRefusal(call: string, status: DriverStatus): Refusal {
  const said = `${status.name}: ${status.text}`;
  if (status.code === 100) {
    return new Refusal(
      `The driver finds no GPU (${said}).`,
      'See what nvidia-smi lists, CUDA_VISIBLE_DEVICES, and whether a container was given the GPU.',
      'cuda/no-gpu',
    );
  }
  if (isLost(status)) {
    return new Refusal(
      `The GPU failed at ${call} or in work before it (${said}).`,
      'Go on from the last checkpoint with --resume; dmesg says under "Xid" what the driver saw.',
      'cuda/gpu-failed',
    );
  }
  if (UNSUITED.has(status.code)) {
    return new Refusal(
      `The driver does not take the compiled kernels at ${call} (${said}).`,
      'Update the driver, or put a CUDA no newer than it (nvidia-smi says which) in SAE_PIPE_CUDA_LIBS.',
      'cuda/kernels-refused',
    );
  }
  if (DRIVER_AMISS.has(status.code)) {
    return new Refusal(
      `The NVIDIA driver cannot be used: ${call} answered ${said}.`,
      'Install the driver anew and start the machine again, or use another machine.',
      'cuda/driver-unusable',
    );
  }
  return new Refusal(
    `CUDA refused ${call} (${said}).`,
    'Use --engine sparse or reference, and report this.',
    'cuda/call-refused',
  );
}
