const NARROW = 256;
const FREE = 0;

/** Which two characters (UTF-16 units, normalized) stand next to each other within some token. */
export class Crossings {
  /** Of units below NARROW, a byte each pair. */
  private readonly narrow = new Uint8Array(NARROW * NARROW);
  /** Of the others, an open hash table; no pair of them is FREE. */
  private wide = new Int32Array(16);
  private count = 0;

  /** @param units of a token */
  add(units: ArrayLike<number>): void {
    for (let i = 1; i < units.length; i++) this.addPair(units[i - 1]!, units[i]!);
  }

  has(a: number, b: number): boolean {
    if ((a | b) < NARROW) return this.narrow[a * NARROW + b] === 1;
    return this.wide[this.slot((a << 16) | b)] !== FREE;
  }

  private addPair(a: number, b: number): void {
    if ((a | b) < NARROW) {
      this.narrow[a * NARROW + b] = 1;
      return;
    }
    const pair = (a << 16) | b;
    const slot = this.slot(pair);
    if (this.wide[slot] !== FREE) return;
    this.wide[slot] = pair;
    this.count++;
    if (2 * this.count < this.wide.length) return;
    const before = this.wide;
    this.wide = new Int32Array(2 * before.length);
    for (const held of before) if (held !== FREE) this.wide[this.slot(held)] = held;
  }

  private slot(pair: number): number {
    const mask = this.wide.length - 1;
    let hash = Math.imul(pair, 0x9e3779b1);
    hash ^= hash >>> 16;
    let slot = hash & mask;
    while (this.wide[slot] !== FREE && this.wide[slot] !== pair) slot = (slot + 1) & mask;
    return slot;
  }
}
