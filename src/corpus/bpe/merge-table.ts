/** Entries of a slot: left token, right token, rank, merged token. */
const SLOT = 4;
const FREE = -1;

/** Which pairs of tokens merge, by both: an open hash table, of which a lookup mostly touches one cache line. */
export class MergeTable {
  private readonly slots: Int32Array;
  private readonly mask: number;

  /** @param merges pairs in the order of their priority, as [left, right, merged, …]; the last of equal pairs counts */
  constructor(merges: Int32Array) {
    const count = merges.length / 3;
    const size = 2 ** Math.ceil(Math.log2(Math.max(16, 1.5 * count)));
    this.mask = size - 1;
    this.slots = new Int32Array(SLOT * size).fill(FREE);
    for (let rank = 0; rank < count; rank++) {
      const [left, right] = [merges[3 * rank]!, merges[3 * rank + 1]!];
      const slot = this.find(left, right);
      this.slots[slot] = left;
      this.slots[slot + 1] = right;
      this.slots[slot + 2] = rank;
      this.slots[slot + 3] = merges[3 * rank + 2]!;
    }
  }

  /** Where the pair is, for `rank` and `merged`; FREE stands in a place that holds none. */
  find(left: number, right: number): number {
    const { slots, mask } = this;
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    let slot = hash & mask;
    for (;;) {
      const at = slot * SLOT;
      const there = slots[at]!;
      if (there === FREE || (there === left && slots[at + 1] === right)) return at;
      slot = (slot + 1) & mask;
    }
  }

  has(slot: number): boolean {
    return this.slots[slot] !== FREE;
  }

  rank(slot: number): number {
    return this.slots[slot + 2]!;
  }

  merged(slot: number): number {
    return this.slots[slot + 3]!;
  }
}
