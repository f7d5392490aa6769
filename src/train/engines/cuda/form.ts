import type { SparseForm } from '../../../sae/architecture.js';
import type { EngineSettings } from '../engine.js';
import { formOf as formOfEngine } from '../objective.js';

export type { SparseForm };

/** What the CUDA engine trains: the loss step in terms of its primitives. */
export const formOf = (settings: EngineSettings): SparseForm => formOfEngine('cuda', settings);
