import { jump } from './jump.js';

/**
 * xoshiro128** 1.1 (Blackman and Vigna 2021), seeded through SplitMix32: small, fast, and identical on every machine.
 * Streams for different purposes use different `purpose` words, so that adding one never shifts another.
 */
export class Generator {
  private readonly s = new Uint32Array(4);

  /** @param words seed and purpose, e.g. (seed, Purpose.batchOrder, epoch) */
  constructor(...words: number[]) {
    let state = 0x9e3779b9;
    for (const word of words) {
      state = mix((state ^ (word >>> 0)) >>> 0);
      state = mix((state + Math.floor(word / 2 ** 32)) >>> 0);
    }
    for (let i = 0; i < 4; i++) {
      state = (state + 0x9e3779b9) >>> 0;
      this.s[i] = mix(state);
    }
  }

  /** Uniform 32-bit integer. */
  next(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.s[1]!, 5), 7), 9) >>> 0;
    step(this.s);
    return result;
  }

  /** Skips the next n integers. */
  skip(n: number): void {
    jump(this.s, n, step);
  }

  /** The next integers, identical to repeated calls of `next`. */
  private fill(into: Uint32Array): void {
    let [a, b, c, d] = this.s as unknown as [number, number, number, number];
    for (let i = 0; i < into.length; i++) {
      into[i] = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9);
      const t = b << 9;
      c ^= a;
      d ^= b;
      b ^= c;
      a ^= d;
      c ^= t;
      d = rotateLeft(d, 11);
    }
    this.s.set([a, b, c, d]);
  }

  /** Standard normal numbers, identical to repeated calls of `normal`, in half the time. */
  normals(into: Float64Array): void {
    const drawn = new Uint32Array(2 * into.length);
    this.fill(drawn);
    for (let i = 0; i < into.length; i++) into[i] = boxMuller(drawn[2 * i]! / 2 ** 32, drawn[2 * i + 1]! / 2 ** 32);
  }

  /** Uniform in [0, 1), 32 bits. */
  uniform(): number {
    return this.next() / 2 ** 32;
  }

  /** Uniform integer in [0, n), n ≤ 2³², without bias (rejection). */
  below(n: number): number {
    const limit = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const value = this.next();
      if (value < limit) return value % n;
    }
  }

  /** Standard normal (Box and Muller 1958). */
  normal(): number {
    const u = this.uniform();
    return boxMuller(u, this.uniform());
  }

  /** A permutation of 0 … n − 1 (Fisher and Yates). */
  permutation(n: number): Uint32Array {
    const order = new Uint32Array(n);
    for (let i = 0; i < n; i++) {
      const j = this.below(i + 1);
      order[i] = order[j]!;
      order[j] = i;
    }
    return order;
  }
}

/** Purpose of a stream of random numbers. */
export const Purpose = {
  windowOrder: 1,
  shardOrder: 2,
  rowOrder: 3,
  initialisation: 4,
  inputs: 5,
  resampling: 6,
  bootstrap: 7,
  sampling: 8,
  corpusFiles: 9,
  mixture: 10,
  documentOrder: 11,
} as const;

/** Advances the generator's state in place. */
function step(s: Uint32Array): void {
  const t = s[1]! << 9;
  s[2]! ^= s[0]!;
  s[3]! ^= s[1]!;
  s[1]! ^= s[2]!;
  s[0]! ^= s[3]!;
  s[2]! ^= t;
  s[3] = rotateLeft(s[3]!, 11);
}

function boxMuller(u: number, v: number): number {
  return Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * v);
}

function rotateLeft(x: number, k: number): number {
  return ((x << k) | (x >>> (32 - k))) >>> 0;
}

function mix(x: number): number {
  let z = x >>> 0;
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b) >>> 0;
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35) >>> 0;
  return (z ^ (z >>> 16)) >>> 0;
}
