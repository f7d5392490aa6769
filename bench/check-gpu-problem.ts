/** What `check:gpu` trains for a few steps: settings of an architecture, and parameters to start from. */
import { Generator } from '../src/random/generator.js';
import { initialise, PARAMETERS, trainingOf } from '../src/sae/registry.js';
import { type ArchitectureName, type ParameterName, square } from '../src/sae/sae.js';
import type { EngineSettings } from '../src/train/engines/engine.js';

export type ProblemSize = 'usual' | 'small';

const SIZES: Record<ProblemSize, Pick<EngineSettings, 'dIn' | 'dSae' | 'batch'>> = {
  usual: { dIn: 256, dSae: 4096, batch: 512 },
  small: { dIn: 22, dSae: 210, batch: 70 },
};
/** Active features are one in this many. */
const SHARE = 50;
/**
 * Means of biases and thresholds, 0 if absent, where no k says how many features are active: rows of W_enc are unit
 * vectors, so a pre-activation is about a standard normal number, of which 1 in 50 is above 2.
 */
const MEANS: Partial<Record<ArchitectureName, Partial<Record<ParameterName, number>>>> = {
  gated: { b_gate: -2 },
  standard: { b_enc: -2 },
  jumprelu: { b_enc: -1.5, threshold: 0.5 },
};
/** Every seventh feature has a bias so much lower: most of these are dead after two steps. */
const SILENT = { every: 7, lower: 1.5 } as const;

/** Some features die within the first steps, and the loss revives them where the architecture can. */
export function problemSettings(architecture: ArchitectureName, size: ProblemSize): EngineSettings {
  const { dIn, dSae, batch } = SIZES[size];
  const active = Math.ceil(dSae / SHARE);
  const flags = {
    ...{ k: active, kAux: Math.ceil(dSae / 256), prefixes: [Math.floor(dSae / 4), Math.floor(dSae / 2)] },
    ...{ sparsityLoss: 'quadratic', l0: active, preActLoss: 1e-2 },
  };
  return {
    ...{ architecture, dIn, dSae, batch, batchDType: 'float32', scale: 1, beta1: 0, beta2: 0.999 },
    ...{ deadWindow: 2 * batch, options: trainingOf(architecture).options(flags, square(dIn, dSae)) },
  };
}

/** Parameters, always the same for the same settings. */
export function problemStart({ architecture, dIn, dSae }: EngineSettings): Map<string, Float32Array> {
  const random = new Generator(11);
  const { parameters } = initialise(architecture, square(dIn, dSae), 11);
  const start = new Map<string, Float32Array>(Object.entries(parameters));
  for (const name of PARAMETERS[architecture]) {
    if (name === 'W_enc' || name === 'W_dec') continue;
    const opens = name === 'b_gate' || name === 'b_enc';
    const values = start.get(name)!;
    for (let i = 0; i < values.length; i++) {
      const silent = opens && i % SILENT.every === 0 ? SILENT.lower : 0;
      values[i] = (MEANS[architecture]?.[name] ?? 0) + 0.1 * random.normal() - silent;
    }
  }
  return start;
}
