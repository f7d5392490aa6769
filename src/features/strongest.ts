/**
 * The features with the largest f > 0 at one token, descending; ties go to the lower feature number.
 *
 * @param f [d_sae]
 * @param count max number of features
 */
export function strongestFeatures(f: Float32Array, count: number): [feature: number, value: number][] {
  const top: [number, number][] = [];
  for (let j = 0; j < f.length; j++) {
    const value = f[j]!;
    if (value <= 0 || (top.length === count && value <= top[count - 1]![1])) continue;
    let at = top.length;
    while (at > 0 && top[at - 1]![1] < value) at--;
    top.splice(at, 0, [j, value]);
    if (top.length > count) top.pop();
  }
  return top;
}
