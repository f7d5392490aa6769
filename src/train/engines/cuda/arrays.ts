import { Refusal } from '../../../errors/refusal.js';
import type { CudaDevice, DevicePointer } from './device.js';
import { type CudaPlan, ENTRY_ARRAYS, MOST_ENTRIES } from './plan.js';

/** Share of the entries asked for that is added to them, so that the next step does not ask again. */
const SPARE = 0.25;

/** The arrays of a plan on the device, by name, and those of entries, which grow. */
export class DeviceArrays {
  private readonly pointers = new Map<string, DevicePointer>();
  private entries = 0;

  constructor(
    private readonly device: CudaDevice,
    plan: CudaPlan,
    /** B · d_sae: there are never more entries. */
    private readonly most: number,
  ) {
    for (const [name, bytes] of plan.arrays) {
      this.pointers.set(name, device.allocate(bytes));
      device.clear(this.at(name), bytes);
    }
    this.makeRoom(plan.entries);
  }

  /** Entries that there is room for. */
  get room(): number {
    return this.entries;
  }

  /** Where an array lies; 0 where this run has none of that name. */
  at(name: string): DevicePointer {
    return this.pointers.get(name) ?? 0n;
  }

  /**
   * Makes room for more entries than there was; what the arrays held is lost.
   *
   * @throws Refusal where they cannot be counted
   */
  grow(entries: number): void {
    if (entries > MOST_ENTRIES) {
      throw new Refusal(
        `${entries} features are active in one batch, and the CUDA engine counts to ${MOST_ENTRIES}.`,
        'Use a smaller --batch.',
        'cuda/too-many-entries',
      );
    }
    // The old arrays go first: the device need not hold both.
    for (const name of ENTRY_ARRAYS) {
      this.device.free(this.at(name));
      this.pointers.delete(name);
    }
    this.makeRoom(Math.min(Math.ceil(entries * (1 + SPARE)), this.most, MOST_ENTRIES));
  }

  private makeRoom(entries: number): void {
    for (const name of ENTRY_ARRAYS) this.pointers.set(name, this.device.allocate(4 * entries));
    this.entries = entries;
  }
}
