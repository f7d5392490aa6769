// The words among which flags choose.

/** Element types of activations on disk. */
export const activationDTypes = ['float16', 'bfloat16', 'float32'] as const;
/** Element types in which a model multiplies matrices. */
export const precisions = ['auto', 'float32', 'bfloat16', 'float16'] as const;
/** How a step is computed, train/engines/. */
export const engines = ['auto', 'sparse', 'reference', 'cuda'] as const;
/** Precisions of the CUDA engine's encoder product. */
export const enginePrecisions = ['float32', 'tf32', 'bfloat16'] as const;
/** SAE architectures that are trained; sae/sae.ts lists those that are read. */
export const trainableArchitectures = ['gated', 'standard'] as const;
/** Ablations of the gated SAE; they compose, but for the pairs that train/ablations.ts refuses. */
export const ablations = ['untied-encoder', 'no-r-mag', 'unfrozen-decoder', 'no-auxiliary', 'l1-on-f'] as const;
/** Parameters that are trained, of any architecture. */
export const trainableParameters = ['W_enc', 'W_mag', 'W_dec', 'b_dec', 'b_enc', 'b_gate', 'b_mag', 'r_mag'] as const;
/** What an SAE can be exported as. */
export const exportFormats = ['jumprelu'] as const;

/** Published points that a report can be drawn beside. */
export const references = ['paper-gemma-7b'] as const;

/** Figures that `figure` draws. */
export const figures = ['jump-relu', 'paper-gemma-7b', 'pareto', 'shrinkage'] as const;

/** Encodings of .txt and .jsonl corpora, corpus/decoders.ts. */
export const encodings = ['utf-8', 'utf-16', 'utf-16le', 'utf-16be', 'latin-1', 'windows-1252'] as const;
export type Encoding = (typeof encodings)[number];
