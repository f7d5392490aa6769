import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, totalmem } from 'node:os';

const require = createRequire(import.meta.url);

/** One line on where figures come from: processor, cores, memory, versions, date. */
export function machineLine(): string {
  const version = (name: string) =>
    (JSON.parse(readFileSync(require.resolve(`${name}/package.json`), 'utf8')) as { version: string }).version;
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const processor = `${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${availableParallelism()} cores, ${memory}`;
  const software = `Node ${process.versions.node}, ONNX Runtime ${version('onnxruntime-node')}`;
  return `${processor}; ${software}; ${new Date().toISOString().slice(0, 10)}`;
}
