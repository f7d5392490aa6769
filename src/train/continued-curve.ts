import { join } from 'node:path';
import { JsonLines, trimJsonLines } from '../disk/json-lines.js';
import { METRICS_FILE, type MetricsRecord } from './metrics-record.js';

/**
 * Opens a run's curve to continue it after `steps` steps; lines of later ones are dropped. A curve that ends before its
 * checkpoint (the machine lost power, or someone cut it) is continued all the same, and the gap is told.
 */
export async function openCurve(
  directory: string,
  steps: number,
  logEvery: number,
  say: (line: string) => void,
): Promise<JsonLines<MetricsRecord>> {
  const curve = await JsonLines.open<MetricsRecord>(join(directory, METRICS_FILE), {
    keep: (line) => line.step <= steps,
  });
  const last = curve.last?.step ?? 0;
  if (last + logEvery <= steps) {
    say(
      `${METRICS_FILE} ends at step ${last}, and the checkpoint is of step ${steps}: the lines between are lost, and the curve has a gap there. The SAE is not affected.`,
    );
  }
  return curve;
}

/** Drops the lines of steps that a finished SAE does not have. */
export function endCurve(directory: string, steps: number): Promise<void> {
  return trimJsonLines<MetricsRecord>(join(directory, METRICS_FILE), (line) => line.step <= steps);
}
