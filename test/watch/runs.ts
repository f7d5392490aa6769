import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LOCK_FILE } from '../../src/disk/lock.js';
import { thisProcess } from '../../src/disk/lock-owner.js';
import type { MetricsLine, MetricsRecord } from '../../src/sae/training-curve.js';
import { curve } from '../report/sample.js';

/** Lines of metrics.jsonl. */
export const textOf = (lines: readonly Partial<MetricsLine>[]) =>
  lines.map((line) => `${JSON.stringify(line)}\n`).join('');

/** The directory of a run that this process is training: a curve of `lines` lines, of 1000 activations each. */
export function runIn(root: string, name: string, lines: number, changes: Partial<MetricsRecord> = {}): string {
  const directory = join(root, name);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'metrics.jsonl'), textOf(curve(lines, changes)));
  writeFileSync(join(directory, LOCK_FILE), JSON.stringify(thisProcess()));
  return directory;
}

export function append(directory: string, text: string): void {
  appendFileSync(join(directory, 'metrics.jsonl'), text);
}

/** What run.json and, as its metadata, cfg.json hold. */
export const metadata = (changes: object = {}) => ({
  model_name: 'tiny-gemma',
  hook_name: 'blocks.1.hook_resid_post',
  sae_pipe: { arch: 'gated', d_sae: 512, l1: 4, steps: 200, ...changes },
});

export const begin = (directory: string, changes: object = {}) =>
  writeFileSync(join(directory, 'run.json'), JSON.stringify(metadata(changes)));

export function finish(directory: string, changes: object = {}): void {
  writeFileSync(join(directory, 'cfg.json'), JSON.stringify({ architecture: 'gated', metadata: metadata(changes) }));
  // A run.json next to it is that of a run that is trained further.
  rmSync(join(directory, 'run.json'), { force: true });
  rmSync(join(directory, LOCK_FILE), { force: true });
}
