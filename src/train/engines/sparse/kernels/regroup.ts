import { magnitude, relu } from './gate';
import { at, indexAt } from './lanes';

/**
 * Regroups entries from feature-major to token-major by a counting sort, and computes their feature values on the way.
 * Within a token, features stay in ascending order.
 *
 * @param gated whether bias is b_gate (f and g differ) or b_enc (f = g = ReLU(p + b_enc))
 * @param entryStart [features + 1], token, p: entries, feature-major
 * @param fired [features] out: 1 where f > 0 for any token; others are left
 * @param tokenStart [B + 1] out; feature, f, g: entries, token-major, out
 * @param totals f64[2], added to: Σ g, or Σ f where that is penalised, and the number of f > 0
 */
export function regroup(
  gated: bool,
  l1OnF: bool,
  features: i32,
  B: i32,
  bias: usize,
  bMag: usize,
  expRMag: usize,
  entryStart: usize,
  token: usize,
  p: usize,
  fired: usize,
  tokenStart: usize,
  feature: usize,
  f: usize,
  g: usize,
  totals: usize,
): void {
  const entries = indexAt(entryStart, features);
  memory.fill(tokenStart, 0, (<usize>B + 1) << 2);
  for (let k: usize = 0; k < entries; k++) {
    const count = tokenStart + (indexAt(token, k) << 2);
    store<u32>(count, load<u32>(count) + 1);
  }
  let before: u32 = 0;
  for (let b: usize = 0; b <= <usize>B; b++) {
    const count = load<u32>(tokenStart + (b << 2));
    store<u32>(tokenStart + (b << 2), before);
    before += count;
  }
  let sum: f64 = 0;
  let active: f64 = 0;
  for (let j: usize = 0; j < <usize>features; j++) {
    const end = indexAt(entryStart, j + 1);
    const b = at(bias, j);
    let on: u32 = 0;
    for (let k = indexAt(entryStart, j); k < end; k++) {
      const next = tokenStart + (indexAt(token, k) << 2);
      const slot = <usize>load<u32>(next);
      store<u32>(next, <u32>slot + 1);
      const pre = at(p, k);
      const open = relu(pre + b);
      const value = gated ? relu(magnitude(pre, at(expRMag, j), at(bMag, j))) : open;
      store<u32>(feature + (slot << 2), <u32>j);
      store<f32>(f + (slot << 2), value);
      if (gated) store<f32>(g + (slot << 2), open);
      sum += <f64>(l1OnF ? value : open);
      on += u32(value > 0);
    }
    if (on) store<u32>(fired + (j << 2), 1);
    active += <f64>on;
  }
  // Each start was moved to its end; moved back by one place they are starts again.
  for (let b = <usize>B; b > 0; b--) store<u32>(tokenStart + (b << 2), load<u32>(tokenStart + ((b - 1) << 2)));
  store<u32>(tokenStart, 0);
  store<f64>(totals, load<f64>(totals) + sum);
  store<f64>(totals + 8, load<f64>(totals + 8) + active);
}
