// The kernels of the sparse engine, compiled to one WebAssembly module that imports its memory. Conventions: pointers
// are byte addresses; floats are float32; rows of length d are zero-padded to a multiple of 16 floats (64 bytes) and
// aligned to 16 bytes; B is the number of tokens in a batch, Bp the padded row length of arrays [features, tokens].
// Functions with more than a few addresses take a block (memory.ts). Nothing here allocates.
export { addTo, decode, regroup, residual, scale, sumRows } from './decode';
export { gradientStrip, valueStrip } from './gradient';
export { centre, columnVariance, quantise, transposeBytes } from './prepare';
export { close, compact, exact, findFloor, guess, open, prune, tally, raise, screen } from './select';
export { applyStrip, decayMoments, takeSquares, takeWritten, update } from './update';
