/**
 * Where does ONNX Runtime's CUDA provider put our graphs, and what does a batch copy? Shown without a GPU: the real
 * provider over stub libraries (bench/cuda-stubs/), which compute nothing and record every call.
 *
 *     npm run check:placement -- [--record] [--directory DIR]
 *
 * Every family in every precision through harvest and evaluation, every architecture through a step of the reference
 * engine. Linux on x64 with gcc, readelf, python3 and pip, which fetches the provider (onnxruntime-gpu of the version of
 * onnxruntime-node, 250 MB) and the structures of CUDA's headers into DIR, where a later run finds them. Exits 0 where
 * all is as it should be, 1 where an operator of numbers runs elsewhere, a graph does not run or needs cuDNN, 3 where the tools
 * are missing. --record writes the table into docs/how-to/gpu.md.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { markdownTable } from './markdown.js';
import { faultsOf, type PlacementCase } from './placement-trace.js';
import { writeSection } from './section.js';
import { ORT_VERSION, obstacleToStubs, stubbedCudaOfRun } from './stubbed-cuda.js';

const { values: options } = parseArgs({
  options: {
    record: { type: 'boolean', default: false },
    directory: { type: 'string', default: join(tmpdir(), 'sae-pipe-check-placement') },
  },
});
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The cases as measured with the stub libraries of an environment. */
function measured(directory: string, environment: NodeJS.ProcessEnv): PlacementCase[] {
  const work = mkdtempSync(join(directory, 'work-'));
  const { stdout } = spawnSync(process.execPath, [join(ROOT, 'dist/bench/check-placement-run.js'), work], {
    cwd: ROOT,
    env: { ...environment, CUDA_STUB_TRACE: join(work, 'trace.txt') },
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as PlacementCase);
}

function table(cases: readonly PlacementCase[]): string {
  const head = [
    'stage',
    'model',
    'precision',
    'kernels',
    'products',
    'to the GPU',
    'from the GPU',
    'waits',
    'elsewhere',
    'cuDNN',
    'TF32',
  ];
  const rows = cases.map((one) => {
    const about = [one.stage, one.model, one.precision];
    if (one.error !== undefined) return [...about, `does not run: ${one.error}`, '', '', '', '', '', '', ''];
    const copies = (count: number, bytes: number) => `${count}: ${bytes} B`;
    const sizes = [copies(one.up, one.upBytes), copies(one.down, one.downBytes), String(one.waits)];
    const flags = [one.needsCudnn ? 'yes' : '', one.tf32 ? 'yes' : ''];
    return [...about, String(one.kernels), String(one.products), ...sizes, one.elsewhere.join(', '), ...flags];
  });
  return markdownTable(head, rows);
}

function main(): number {
  const reason = obstacleToStubs();
  if (reason !== undefined) {
    console.error(`${reason}.`);
    return 3;
  }
  const { work: directory, whole, withoutCudnn } = stubbedCudaOfRun(options.directory);
  const nameOf = ({ stage, model, precision }: PlacementCase) => `${stage} ${model} ${precision}`;
  const alone = new Map(measured(directory, withoutCudnn).map((one) => [nameOf(one), one]));
  const cases = measured(directory, whole).map((one) => {
    const needsCudnn = alone.get(nameOf(one))?.error !== undefined;
    return { ...one, needsCudnn: needsCudnn && one.error === undefined };
  });
  const text = `ONNX Runtime ${ORT_VERSION}; two contexts a batch, one hook, an SAE of 64 features. \`npm run check:placement -- --record\`.\n\n${table(cases)}`;
  if (options.record) writeSection('placement', 'Placement', text, 'docs/how-to/gpu.md');
  else console.log(text);
  const faults = cases.flatMap((one) => faultsOf(one));
  for (const fault of faults) console.error(fault);
  if (cases.length === 0) console.error('Nothing was measured.');
  return Number(cases.length === 0 || faults.length > 0);
}

process.exitCode = main();
