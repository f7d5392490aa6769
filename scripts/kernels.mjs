// Compiles the WebAssembly kernels next to the JavaScript that loads them. Part of `npm run build`.
import asc from 'assemblyscript/asc';

const ROOMS = ['activations', 'inspect', 'train/engines/sparse'];
const OPTIONS = ['-O3', '--noAssert', '--enable', 'simd', '--runtime', 'stub', '--importMemory', '--use', 'abort='];

for (const room of ROOMS) {
  const files = [`src/${room}/kernels/index.ts`, '--outFile', `dist/src/${room}/kernels.wasm`];
  const { error, stderr } = await asc.main([...files, ...OPTIONS]);
  process.stderr.write(stderr.toString());
  if (error) process.exit(1);
}
