import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, totalmem } from 'node:os';

/** Puts text between `<!-- name:begin -->` and `<!-- name:end -->` of a document, and prints it. */
export function writeSection(name: string, title: string, text: string, path = 'docs/explanation/benchmarks.md'): void {
  const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`];
  const before = existsSync(path) ? readFileSync(path, 'utf8') : '# Benchmarks\n';
  const page = before.includes(begin) ? before : `${before.trimEnd()}\n\n## ${title}\n\n${begin}\n${end}\n`;
  const [head, rest] = page.split(begin) as [string, string];
  writeFileSync(path, `${head}${begin}\n${text.trim()}\n${end}${rest.slice(rest.indexOf(end) + end.length)}`);
  console.log(text);
}

/** The machine, our versions and the date, in a line. */
export function circumstances(): string {
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
  const gigabytes = Math.round(totalmem() / 2 ** 30);
  const machine = `${cpus()[0]!.model.trim()}, ${availableParallelism()} cores, ${gigabytes} GiB`;
  return `${machine}; Node ${process.version}, ONNX Runtime ${version}; ${new Date().toISOString().slice(0, 10)}`;
}

/** Median, least and largest. */
export function spread(values: readonly number[]): { median: number; least: number; most: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, least: sorted[0]!, most: sorted.at(-1)! };
}
