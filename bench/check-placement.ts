/**
 * Where does ONNX Runtime's CUDA provider put our graphs, and what does a batch copy? Told without a GPU: the real
 * provider over stub libraries (bench/cuda-stubs/), which compute nothing and write down what they are asked for.
 *
 *     npm run check:placement -- [--record] [--directory DIR]
 *
 * Every family in every precision through harvest and evaluation, every architecture through a step of the reference
 * engine. Linux on x64 with gcc, readelf, python3 and pip, which fetches the provider (onnxruntime-gpu of the version of
 * onnxruntime-node, 250 MB) and the structures of CUDA's headers into DIR, where a later run finds them. Exits 0 where
 * all is as it should be, 1 where an operator of numbers runs elsewhere, a graph does not run or needs cuDNN, 3 where the tools
 * are missing. --record writes the table into docs/gpu.md.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { markdownTable } from './markdown.js';
import { faultsOf, type PlacementCase } from './placement-trace.js';
import { writeSection } from './section.js';

const { values: options } = parseArgs({
  options: {
    record: { type: 'boolean', default: false },
    directory: { type: 'string', default: join(tmpdir(), 'sae-pipe-check-placement') },
  },
});
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NATIVE = join('bin', 'napi-v6', 'linux', 'x64');
const PROVIDERS = ['libonnxruntime_providers_cuda.so', 'libonnxruntime_providers_shared.so'];
const run = (program: string, ...args: string[]) =>
  execFileSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });

const packages = createRequire(import.meta.url);
const runtime = dirname(packages.resolve('onnxruntime-node/package.json'));
const { version } = packages('onnxruntime-node/package.json') as { version: string };

/** Why it cannot be done here; undefined where it can. */
function obstacle(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'check:placement runs on Linux on x64 alone';
  return ['gcc', 'readelf', 'nm', 'python3']
    .filter((tool) => spawnSync(tool, ['--version']).status !== 0)
    .map((tool) => `${tool} is not on the PATH`)
    .at(0);
}

/** Fetches a package of PyPI and takes some of its files out. */
function fetched(directory: string, requirement: string, wanted: RegExp): void {
  const wheels = join(directory, 'wheels');
  mkdirSync(wheels, { recursive: true });
  const platforms = ['manylinux_2_28_x86_64', 'manylinux_2_27_x86_64', 'manylinux2014_x86_64'];
  const of = platforms.flatMap((platform) => ['--platform', platform]);
  const python = ['--python-version', '3.12', '--implementation', 'cp', '--only-binary=:all:', '--no-deps', '--quiet'];
  run('python3', '-m', 'pip', 'download', ...python, ...of, '--dest', wheels, requirement);
  for (const wheel of readdirSync(wheels)) {
    const script = `import re, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
z.extractall(sys.argv[2], [n for n in z.namelist() if re.search(sys.argv[3], n)])`;
    run('python3', '-c', script, join(wheels, wheel), directory, wanted.source);
  }
  rmSync(wheels, { recursive: true });
}

/** The provider's two libraries and CUDA's headers, fetched once. */
function parts(directory: string): { provider: string; headers: string } {
  const own = join(directory, version);
  const provider = join(own, 'onnxruntime', 'capi');
  const headers = join(directory, 'nvidia', 'cu13', 'include');
  if (!existsSync(join(provider, PROVIDERS[0]!)))
    fetched(own, `onnxruntime-gpu==${version}`, /libonnxruntime_providers_(cuda|shared)/);
  if (!existsSync(headers)) {
    for (const name of ['runtime', 'crt']) fetched(directory, `nvidia-cuda-${name}>=13,<14`, /include\//);
  }
  return { provider, headers };
}

/** This project with the provider beside its ONNX Runtime; the checkout's own stays as it is. */
function project(directory: string, provider: string): string {
  const modules = join(directory, 'node_modules');
  const own = join(modules, 'onnxruntime-node');
  mkdirSync(modules);
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (name !== 'onnxruntime-node') symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
  for (const name of readdirSync(runtime))
    if (name !== 'bin') cpSync(join(runtime, name), join(own, name), { recursive: true });
  cpSync(join(runtime, NATIVE), join(own, NATIVE), { recursive: true });
  for (const name of PROVIDERS) cpSync(join(provider, name), join(own, NATIVE, name));
  for (const name of ['dist', 'package.json']) cpSync(join(ROOT, name), join(directory, name), { recursive: true });
  return directory;
}

/** The cases as measured with the stub libraries of a directory. */
function measured(directory: string, libraries: string): PlacementCase[] {
  const work = mkdtempSync(join(directory, 'work-'));
  const { stdout } = spawnSync(process.execPath, [join(directory, 'dist/bench/check-placement-run.js'), work], {
    cwd: ROOT,
    env: { ...process.env, LD_LIBRARY_PATH: libraries, CUDA_STUB_TRACE: join(work, 'trace.txt') },
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
  const reason = obstacle();
  if (reason !== undefined) {
    console.error(`${reason}.`);
    return 3;
  }
  const kept = resolve(options.directory);
  mkdirSync(kept, { recursive: true });
  const { provider, headers } = parts(kept);
  const directory = mkdtempSync(join(kept, 'project-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  project(directory, provider);
  const [whole, without] = [join(directory, 'stubs'), join(directory, 'stubs-without-cudnn')];
  run('bash', join(ROOT, 'bench/cuda-stubs/build.sh'), join(provider, PROVIDERS[0]!), headers, whole);
  cpSync(whole, without, { recursive: true });
  for (const name of readdirSync(without)) if (name.startsWith('libcudnn')) rmSync(join(without, name));
  const alone = new Map(measured(directory, without).map((one) => [`${one.stage} ${one.model} ${one.precision}`, one]));
  const cases = measured(directory, whole).map((one) => {
    const needsCudnn = alone.get(`${one.stage} ${one.model} ${one.precision}`)?.error !== undefined;
    return { ...one, needsCudnn: needsCudnn && one.error === undefined };
  });
  const text = `ONNX Runtime ${version}; two contexts a batch, one hook, an SAE of 64 features. \`npm run check:placement -- --record\`.\n\n${table(cases)}`;
  if (options.record) writeSection('placement', 'Placement', text, 'docs/gpu.md');
  else console.log(text);
  const faults = cases.flatMap((one) => faultsOf(one));
  for (const fault of faults) console.error(fault);
  if (cases.length === 0) console.error('Nothing was measured.');
  return Number(cases.length === 0 || faults.length > 0);
}

process.exitCode = main();
