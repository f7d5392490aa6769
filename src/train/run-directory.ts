import type { TrainConfig } from '../config/stages.js';
import type { ClaimOptions } from '../disk/output-directory.js';
import { CFG_FILE, WEIGHTS_FILE } from '../sae/saelens.js';
import { isCheckpoint } from './checkpoint.js';
import { METRICS_FILE } from './metrics-record.js';
import { RUN_FILE } from './run-file.js';

const FILES = [CFG_FILE, WEIGHTS_FILE, METRICS_FILE, RUN_FILE];

/** Is this a name that a run's directory may hold? */
export const isRunFile = (name: string) => FILES.includes(name) || isCheckpoint(name);

/** What a run's directory may hold, and how it is claimed. */
export function claimOptions(config: TrainConfig, say?: (line: string) => void): ClaimOptions {
  const { overwrite, resume, activations, init, model, corpus } = config;
  const takeOver = config.takeOver ? say : undefined;
  const inputs = [activations, init, model, corpus];
  return { overwrite, resume, ours: isRunFile, resumeFlag: '--resume', result: CFG_FILE, inputs, takeOver };
}

/** What a stop leaves of a run. */
export function kept(steps: number, wanted: number, out: string): string {
  return `step ${steps} of ${wanted} is kept in ${out}; continue with the same command and --resume.`;
}
