import type { KernelArgument } from './device.js';
import type { Native } from './native.js';

/** CUDA's bound on the parameters of a kernel is 4 KiB, and none of ours comes near. */
const MOST = 128;
const SLOT = 8;

/** The arguments of one launch, as cuLaunchKernel takes them: an array of pointers to the values. */
export class LaunchArguments {
  // The driver copies them before a launch returns, so one block serves all launches.
  private readonly values = new DataView(new ArrayBuffer(MOST * SLOT));
  private readonly pointers = new BigUint64Array(MOST);
  private readonly sizes = new Uint8Array(MOST);

  constructor(koffi: Native) {
    const start = koffi.address(this.values);
    for (let i = 0; i < MOST; i++) this.pointers[i] = start + BigInt(i * SLOT);
  }

  /**
   * Valid until the next call.
   *
   * @throws RangeError for a number that its type does not hold
   */
  pack(args: readonly KernelArgument[]): { readonly pointers: BigUint64Array; readonly sizes: Uint8Array } {
    if (args.length > MOST) throw new RangeError(`a kernel takes at most ${MOST} arguments here, not ${args.length}`);
    args.forEach((argument, i) => {
      this.sizes[i] = this.write(argument, i * SLOT);
    });
    return { pointers: this.pointers.subarray(0, args.length), sizes: this.sizes.subarray(0, args.length) };
  }

  /** Writes a value; its size in bytes. */
  private write(argument: KernelArgument, at: number): number {
    // Values wrap silently where JavaScript writes them, so their range is looked at first.
    if (typeof argument === 'bigint') {
      if (argument < 0n || argument >= 2n ** 64n) throw new RangeError(`${argument} is no address`);
      this.values.setBigUint64(at, argument, true);
      return 8;
    }
    if ('int' in argument) {
      if ((argument.int | 0) !== argument.int) throw new RangeError(`${argument.int} is no int`);
      this.values.setInt32(at, argument.int, true);
      return 4;
    }
    if ('long' in argument) {
      if (!Number.isSafeInteger(argument.long)) throw new RangeError(`${argument.long} is no long long`);
      this.values.setBigInt64(at, BigInt(argument.long), true);
      return 8;
    }
    this.values.setFloat32(at, argument.float, true);
    return 4;
  }
}
