// The kernels of the sparse engine, compiled to one WebAssembly module that imports its memory. Conventions:
// pointers are byte addresses; floats are float32; rows of length d are padded with zeros to a multiple of 16 floats
// (64 bytes) and begin at multiples of 16 bytes; B is the number of tokens of a batch, Bp the padded row length of
// arrays [features, tokens]. Nothing here allocates.
export { centre, columnVariance } from './centre';
export { decodeGated, decodeStandard } from './decode';
export { gatedGradientStrip, gatedStrip, standardGradientStrip, standardStrip } from './dense';
export { compact, encode } from './encode';
export { quantise, transposeBytes } from './quantise';
export { regroup } from './regroup';
export { addTo, residual, sumRows } from './residual';
export { screen } from './screen';
export { applyStrip, decayMoments, takeWritten, updateGated, updateStandard } from './update';
