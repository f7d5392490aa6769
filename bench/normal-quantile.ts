/** z with a share q of the standard normal below it, by bisection on the error function's integral. */
export function normalQuantile(q: number): number {
  let [low, high] = [-8, 8];
  for (let k = 0; k < 50; k++) {
    const z = (low + high) / 2;
    let below = 0;
    for (let t = -8; t < z; t += 0.001) below += Math.exp((-t * t) / 2) * 0.001;
    if (below / Math.sqrt(2 * Math.PI) > q) high = z;
    else low = z;
  }
  return low;
}
