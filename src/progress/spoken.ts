/** A count with three significant figures: 63.9k. */
export function count(n: number): string {
  if (n < 1000) return n.toFixed(n < 10 ? 1 : 0);
  const unit = n < 1e6 ? 'k' : n < 1e9 ? 'M' : 'G';
  const value = n / (unit === 'k' ? 1e3 : unit === 'M' ? 1e6 : 1e9);
  return `${value.toPrecision(3)}${unit}`;
}

/** Seconds as people say them: 1 h 02 min, 3 min 05 s, 12 s. */
export function duration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')} min`;
}
