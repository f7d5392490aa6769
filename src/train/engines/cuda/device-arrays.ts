import type { CudaDevice, DevicePointer } from './device.js';
import { type CudaPlan, ENTRY_ARRAYS, entryRoom } from './plan.js';

/** The arrays of a plan on the device, by name, and those of entries, which grow. */
export class DeviceArrays {
  private readonly pointers = new Map<string, DevicePointer>();
  private entries = 0;

  constructor(
    private readonly device: CudaDevice,
    private readonly plan: CudaPlan,
  ) {
    for (const [name, bytes] of plan.arrays) {
      this.pointers.set(name, device.allocate(bytes));
      device.clear(this.at(name), bytes);
    }
    this.makeRoom(plan.entries);
  }

  /** Number of entries that fit. */
  get room(): number {
    return this.entries;
  }

  /** Address of an array; 0 if this run has none of that name. */
  at(name: string): DevicePointer {
    const view = this.plan.views.get(name);
    if (!view) return this.pointers.get(name) ?? 0n;
    const array = this.pointers.get(view.of);
    return array === undefined ? 0n : array + BigInt(view.offset);
  }

  /** Makes room for more entries; the contents of the arrays are lost. */
  grow(entries: number): void {
    // The old arrays go first: the device need not hold both.
    for (const name of ENTRY_ARRAYS) {
      this.device.free(this.at(name));
      this.pointers.delete(name);
    }
    this.makeRoom(entryRoom(entries, this.plan.mostEntries));
  }

  private makeRoom(entries: number): void {
    for (const name of ENTRY_ARRAYS) this.pointers.set(name, this.device.allocate(4 * entries));
    this.entries = entries;
  }
}
