const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;

const u64 = (value: bigint) => BigInt.asUintN(64, value);
const rotated = (value: bigint, by: bigint) => u64((value << by) | (value >> (64n - by)));
const round = (sum: bigint, lane: bigint) => u64(rotated(u64(sum + lane * P2), 31n) * P1);

const STRIPE = 32;

/** XXH64 with seed 0, as Zstandard's frames have it. https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md */
export class Xxh64 {
  private readonly sums: [bigint, bigint, bigint, bigint] = [u64(P1 + P2), P2, 0n, u64(-P1)];
  private rest: Buffer = Buffer.alloc(0);
  private length = 0;

  update(chunk: Buffer): void {
    this.length += chunk.length;
    const bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    let at = 0;
    let [a, b, c, d] = this.sums;
    for (; at + STRIPE <= bytes.length; at += STRIPE) {
      a = round(a, bytes.readBigUInt64LE(at));
      b = round(b, bytes.readBigUInt64LE(at + 8));
      c = round(c, bytes.readBigUInt64LE(at + 16));
      d = round(d, bytes.readBigUInt64LE(at + 24));
    }
    this.sums.splice(0, 4, a, b, c, d);
    this.rest = Buffer.from(bytes.subarray(at));
  }

  /** The lower 32 bits. */
  digest(): number {
    let hash = u64(this.merged() + BigInt(this.length));
    const { rest } = this;
    let at = 0;
    for (; at + 8 <= rest.length; at += 8) {
      hash = u64(rotated(hash ^ round(0n, rest.readBigUInt64LE(at)), 27n) * P1 + P4);
    }
    if (at + 4 <= rest.length) {
      hash = u64(rotated(hash ^ u64(BigInt(rest.readUInt32LE(at)) * P1), 23n) * P2 + P3);
      at += 4;
    }
    for (; at < rest.length; at++) hash = u64(rotated(hash ^ u64(BigInt(rest[at]!) * P5), 11n) * P1);
    hash = u64((hash ^ (hash >> 33n)) * P2);
    hash = u64((hash ^ (hash >> 29n)) * P3);
    return Number((hash ^ (hash >> 32n)) & 0xffffffffn);
  }

  private merged(): bigint {
    if (this.length < STRIPE) return P5;
    const [a, b, c, d] = this.sums;
    const sum = u64(rotated(a, 1n) + rotated(b, 7n) + rotated(c, 12n) + rotated(d, 18n));
    return [a, b, c, d].reduce((hash, lane) => u64((hash ^ round(0n, lane)) * P1 + P4), sum);
  }
}
