import { at, indexAt } from './lanes';

/**
 * out[b] += Σ_j f[b,j] W_dec[j] and aux[b] += Σ_j g[b,j] W_dec[j] over a token's entries; four rows of W_dec a pass.
 *
 * @param tokenStart [B + 1], feature, f, g: entries, token-major
 * @param wDec [features, d]
 * @param out, aux [B, d]
 */
export function decodeGated(
  tokenStart: usize,
  feature: usize,
  f: usize,
  g: usize,
  wDec: usize,
  B: i32,
  d: i32,
  out: usize,
  aux: usize,
): void {
  const bytes = (<usize>d) << 2;
  for (let b: usize = 0; b < <usize>B; b++) {
    const to = out + b * bytes;
    const toAux = aux + b * bytes;
    const end = indexAt(tokenStart, b + 1);
    for (let k = indexAt(tokenStart, b); k < end; k += 4) {
      // The last group is filled with its first row times zero.
      const last = end - k;
      const w0 = wDec + indexAt(feature, k) * bytes;
      const w1 = last > 1 ? wDec + indexAt(feature, k + 1) * bytes : w0;
      const w2 = last > 2 ? wDec + indexAt(feature, k + 2) * bytes : w0;
      const w3 = last > 3 ? wDec + indexAt(feature, k + 3) * bytes : w0;
      const f0 = f32x4.splat(at(f, k));
      const f1 = f32x4.splat(last > 1 ? at(f, k + 1) : 0);
      const f2 = f32x4.splat(last > 2 ? at(f, k + 2) : 0);
      const f3 = f32x4.splat(last > 3 ? at(f, k + 3) : 0);
      const g0 = f32x4.splat(at(g, k));
      const g1 = f32x4.splat(last > 1 ? at(g, k + 1) : 0);
      const g2 = f32x4.splat(last > 2 ? at(g, k + 2) : 0);
      const g3 = f32x4.splat(last > 3 ? at(g, k + 3) : 0);
      for (let i: usize = 0; i < bytes; i += 16) {
        const r0 = v128.load(w0 + i);
        const r1 = v128.load(w1 + i);
        const r2 = v128.load(w2 + i);
        const r3 = v128.load(w3 + i);
        const sum = f32x4.add(
          f32x4.add(f32x4.mul(f0, r0), f32x4.mul(f1, r1)),
          f32x4.add(f32x4.mul(f2, r2), f32x4.mul(f3, r3)),
        );
        const sumAux = f32x4.add(
          f32x4.add(f32x4.mul(g0, r0), f32x4.mul(g1, r1)),
          f32x4.add(f32x4.mul(g2, r2), f32x4.mul(g3, r3)),
        );
        v128.store(to + i, f32x4.add(v128.load(to + i), sum));
        v128.store(toAux + i, f32x4.add(v128.load(toAux + i), sumAux));
      }
    }
  }
}

/** out[b] += Σ_j f[b,j] W_dec[j]; as decodeGated, without the auxiliary sum. */
export function decodeStandard(
  tokenStart: usize,
  feature: usize,
  f: usize,
  wDec: usize,
  B: i32,
  d: i32,
  out: usize,
): void {
  const bytes = (<usize>d) << 2;
  for (let b: usize = 0; b < <usize>B; b++) {
    const to = out + b * bytes;
    const end = indexAt(tokenStart, b + 1);
    for (let k = indexAt(tokenStart, b); k < end; k += 4) {
      const last = end - k;
      const w0 = wDec + indexAt(feature, k) * bytes;
      const w1 = last > 1 ? wDec + indexAt(feature, k + 1) * bytes : w0;
      const w2 = last > 2 ? wDec + indexAt(feature, k + 2) * bytes : w0;
      const w3 = last > 3 ? wDec + indexAt(feature, k + 3) * bytes : w0;
      const f0 = f32x4.splat(at(f, k));
      const f1 = f32x4.splat(last > 1 ? at(f, k + 1) : 0);
      const f2 = f32x4.splat(last > 2 ? at(f, k + 2) : 0);
      const f3 = f32x4.splat(last > 3 ? at(f, k + 3) : 0);
      for (let i: usize = 0; i < bytes; i += 16) {
        const sum = f32x4.add(
          f32x4.add(f32x4.mul(f0, v128.load(w0 + i)), f32x4.mul(f1, v128.load(w1 + i))),
          f32x4.add(f32x4.mul(f2, v128.load(w2 + i)), f32x4.mul(f3, v128.load(w3 + i))),
        );
        v128.store(to + i, f32x4.add(v128.load(to + i), sum));
      }
    }
  }
}
