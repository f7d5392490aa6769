import { extent } from './domains.js';
import { distinct, type Placed } from './entries.js';
import { compact } from './format.js';
import { key } from './key.js';
import { lineColour } from './styles.js';

/** Which colour is which family, and which L0 its lines span; of a ramp its two ends. */
export function curveKey(id: string, entries: readonly Placed[], width: number) {
  const ramp = entries.filter(({ tone }) => tone === 0 || tone === 1);
  if (ramp.length > 0) {
    const ends = ramp.filter(({ tone }, i) => ramp.findIndex((other) => other.tone === tone) === i);
    const items = ends
      .sort((a, b) => a.tone! - b.tone!)
      .map((entry) => ({
        label: entry.label,
        style: entry.style,
        stroke: lineColour(entry),
        sign: 'line' as const,
      }));
    return key(
      id,
      items.map((item, i) => (i === 0 && items.length > 1 ? { ...item, label: `${item.label} to` } : item)),
      width,
    );
  }
  const names = distinct(entries.map(({ family }) => family));
  const items = names.map((name) => {
    const own = entries.filter(({ family }) => family === name);
    const sizes = extent(own.map(({ record }) => record.l0));
    const range = sizes === null || own.length < 2 ? '' : `, L0 ${compact(sizes[0])} to ${compact(sizes[1])}`;
    return { label: `${name}${range}`, style: own[0]!.style, sign: 'line' as const };
  });
  return key(id, items, width);
}
