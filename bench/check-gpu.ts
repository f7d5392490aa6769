/**
 * Does all run on an NVIDIA GPU as it should? Part "lm": a random-weight Gemma of the size of Gemma 7B goes through
 * harvest's forward pass and an evaluation's losses, here and in transformers: agreement, tokens per second, peak memory.
 * Part "train": the CUDA engine (check-gpu-train.ts).
 *
 *     npm run check:gpu -- [--part lm|train|all] [--size 7b|7b-layers|small] [--hooks 3] [--device cuda]
 *                          [--precision bfloat16] [--context 1024] [--batch 4] [--directory DIR] [--keep]
 *                          [--without-peer] [--without-sanitizer] [--without-architectures] [--record]
 *
 * --directory is where the checkpoint is written and removed again, 17 GB of it (default: the system's temporary
 * directory); --record writes the tables into docs/explanation/benchmarks.md. Exits 0 where all agrees, 1 where it does not or the
 * machine is too small, 2 for a wrong flag, 3 where ONNX Runtime's CUDA provider or the CUDA engine's libraries cannot be
 * used. `--size small --device cpu` tries everything of part "lm" except CUDA itself; on a CPU there is no part "train".
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { precisions } from '../src/config/values.js';
import { checkFreeSpace, formatBytes } from '../src/disk/space.js';
import { providers } from '../src/doctor/machine.js';
import { Refusal, UsageRefusal } from '../src/errors/refusal.js';
import { gpus } from '../src/machine/gpus.js';
import { memory } from '../src/machine/memory.js';
import { Generator } from '../src/random/generator.js';
import { type Comparison, compare } from './check-gpu-agreement.js';
import type { Answer, Job } from './check-gpu-job.js';
import { checkTraining, unusableForTraining } from './check-gpu-train.js';
import { markdownTable } from './markdown.js';
import { watchMemory } from './peak-memory.js';
import { benchPython } from './python.js';
import { parametersOf, SIZES, type Size, writeRandomCheckpoint } from './random-checkpoint.js';
import { circumstances, spread, writeSection } from './section.js';

/** In addition to the weights: values of a pass, logits, rows, the libraries. Not measured; generous. */
const BESIDE_WEIGHTS: Record<Size, number> = {
  '7b': 12 * 2 ** 30,
  '7b-layers': 12 * 2 ** 30,
  small: 2 ** 30,
  least: 2 ** 30,
};
const SECONDS: Record<Size, number> = { '7b': 10, '7b-layers': 5, small: 1, least: 1 };
/** Of these, the first --hooks are read. */
const SITES = ['hook_resid_post', 'attn.hook_z', 'hook_mlp_out'];

const NAMES: Record<Size, string> = {
  '7b': "Gemma 7B's shapes",
  '7b-layers': "four layers of Gemma 7B's shapes",
  small: 'a small Gemma',
  least: 'a Gemma of one small layer',
};

type Settings = ReturnType<typeof readFlags>;
type Side = Answer & { readonly rows: string; readonly peak: number | null };

function readFlags() {
  const text = (preset: string) => ({ type: 'string', default: preset }) as const;
  const optional = { type: 'string' } as const;
  const yes = { type: 'boolean', default: false } as const;
  let flags: Record<string, string | boolean | undefined>;
  try {
    flags = parseArgs({
      options: {
        ...{ part: optional, size: text('7b'), device: text('cuda'), precision: optional, directory: text(tmpdir()) },
        ...{ context: text('1024'), batch: text('4'), hooks: text(String(SITES.length)), keep: yes },
        ...{ 'without-peer': yes, 'without-sanitizer': yes, 'without-architectures': yes, record: yes },
      },
    }).values as typeof flags;
  } catch (error) {
    throw new UsageRefusal((error as Error).message, undefined, 'config/unknown-flag');
  }
  const { size, device, directory } = flags as Record<string, string>;
  if (!Object.hasOwn(SIZES, size!))
    throw new UsageRefusal(`There is no size "${size}".`, 'Use 7b, 7b-layers or small.', 'config/wrong-value');
  if (!/^(cpu|cuda(:\d+)?)$/.test(device!)) {
    throw new UsageRefusal(`"${device}" is not a device for this check.`, 'Use cuda, cuda:N or cpu.', 'onnx/no-device');
  }
  const part = flags.part ?? (device === 'cpu' ? 'lm' : 'all');
  if (part !== 'lm' && part !== 'train' && part !== 'all') {
    throw new UsageRefusal(`There is no part "${part}".`, 'Use lm, train or all.', 'config/wrong-value');
  }
  if (device === 'cpu' && part !== 'lm') {
    throw new UsageRefusal(`Part "${part}" needs a GPU.`, 'Use --part lm, or --device cuda.', 'config/wrong-together');
  }
  const precision = (flags.precision ?? (device === 'cpu' ? 'float32' : 'bfloat16')) as Job['precision'];
  if (!precisions.includes(precision) || (precision as string) === 'auto') {
    throw new UsageRefusal(
      `There is no precision "${precision}".`,
      'Use bfloat16, float16 or float32.',
      'config/wrong-value',
    );
  }
  if (device === 'cpu' && precision === 'bfloat16') {
    throw new UsageRefusal(
      'On the CPU, ONNX Runtime multiplies no bfloat16 matrices.',
      'Use --precision float32.',
      'lm/bfloat16',
    );
  }
  const [context, batch] = [Number(flags.context), Number(flags.batch)];
  if (!Number.isInteger(context) || context < 4 || context > SIZES[size as Size].max_position_embeddings) {
    throw new UsageRefusal(
      `--context must be from 4 to ${SIZES[size as Size].max_position_embeddings}.`,
      undefined,
      'config/wrong-value',
    );
  }
  if (!Number.isInteger(batch) || batch < 1)
    throw new UsageRefusal('--batch must be an integer from 1.', undefined, 'config/wrong-value');
  const hooks = Number(flags.hooks);
  if (!Number.isInteger(hooks) || hooks < 1 || hooks > SITES.length)
    throw new UsageRefusal(`--hooks must be from 1 to ${SITES.length}.`, undefined, 'config/wrong-value');
  const [keep, withoutPeer, record] = [flags.keep === true, flags['without-peer'] === true, flags.record === true];
  const without = {
    sanitizer: flags['without-sanitizer'] === true,
    architectures: flags['without-architectures'] === true,
  };
  const chosen = { size: size as Size, device: device!, directory: directory!, precision, context, batch, hooks };
  return { ...chosen, part: part as 'lm' | 'train' | 'all', keep, withoutPeer, without, record };
}

/** Why the device cannot be used, in a sentence; null where it can. */
async function unusable({ device, part }: Settings): Promise<string | null> {
  if (device === 'cpu') return null;
  return (part === 'train' ? null : await unusableProvider()) ?? (part === 'lm' ? null : unusableForTraining(device));
}

async function unusableProvider(): Promise<string | null> {
  const cuda = (await providers()).find(({ name }) => name === 'cuda')!;
  if (cuda.available) return null;
  const reasons = cuda.reasons.slice(0, 2).join('; ');
  return `ONNX Runtime's CUDA provider cannot be used here: ${reasons}. README.md says under "Devices" what it needs.`;
}

/** The GPU that a device means, where nvidia-smi lists it. */
async function gpuOf(device: string) {
  return device === 'cpu' ? undefined : (await gpus())[Number(/:(\d+)$/.exec(device)?.[1] ?? 0)];
}

/** @throws Refusal where disk or memory is too small for the checkpoint */
async function checkRoom({ size, device, directory, precision }: Settings): Promise<void> {
  const parameters = parametersOf(size);
  await checkFreeSpace(directory, 2 * parameters + 2 ** 30, 'Choose another --directory, or --size small.');
  const held = parameters * (precision === 'float32' ? 4 : 2);
  const fits = (what: string, needed: number, free: number) => {
    if (needed <= free) return;
    const sizes = `${formatBytes(needed)} are needed and ${formatBytes(free)} are free`;
    throw new Refusal(
      `${what} is too small for this check: ${sizes}.`,
      'Use --size small, or a larger machine.',
      'doctor/does-not-fit',
    );
  };
  const { available } = memory();
  if (device === 'cpu') {
    // The two sides run one after the other.
    fits('The memory', held + BESIDE_WEIGHTS[size], available);
    return;
  }
  // Either side may hold the weights in main memory before it moves them.
  fits('The memory', 2 * 2 ** 30 + held, available);
  const gpu = await gpuOf(device);
  if (gpu) fits(`The memory of ${gpu.name}`, held + BESIDE_WEIGHTS[size], gpu.free);
}

/**
 * Contexts of random tokens, each begun by BOS. Half of the tokens repeat the one before: a model with tied embeddings
 * predicts that more or less, as much as its blocks leave of a token's embedding, so that the loss depends on them.
 */
function randomTokens({ size, context, batch }: Settings): number[][] {
  const { bos_token_id: bos, vocab_size } = SIZES[size];
  const random = new Generator(1);
  return Array.from({ length: batch }, () => {
    const row = [bos as number];
    while (row.length < context) {
      row.push(row.length > 1 && random.below(2) === 0 ? row.at(-1)! : bos + 1 + random.below(vocab_size - bos - 1));
    }
    return row;
  });
}

/** Runs one side to its end. */
async function run(program: string, script: string, job: string, rows: string, device: string): Promise<Side> {
  const child = spawn(program, [script, job, rows], { stdio: ['ignore', 'pipe', 'inherit'] });
  const watch = watchMemory(child, device);
  let last = '';
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    last = line;
  });
  let peak: number | null = null;
  const code = await ended.finally(() => {
    peak = watch.end();
  });
  if (code !== 0 || !last.startsWith('{')) throw new Error(`${script} ended with ${code} and no answer`);
  return { ...(JSON.parse(last) as Answer), rows, peak };
}

function table(sides: readonly (readonly [label: string, side: Side])[]): string {
  const rate = (values: readonly number[]) => {
    const { median, least, most } = spread(values);
    return `${Math.round(median)} (${Math.round(least)} to ${Math.round(most)})`;
  };
  return markdownTable(
    ['', 'harvest, tokens/s', 'losses, tokens/s', 'peak memory', 'opening'],
    sides.map(([label, { harvest, losses, peak, opening }]) => [
      ...[label, rate(harvest), rate(losses)],
      ...[peak === null ? 'not known' : formatBytes(peak), `${opening.toFixed(1)} s`],
    ]),
  );
}

async function check(settings: Settings, directory: string): Promise<boolean> {
  const { size, device, precision, context, batch } = settings;
  const model = join(directory, 'model');
  const begun = performance.now();
  await writeRandomCheckpoint(model, size);
  const bytes = formatBytes(2 * parametersOf(size));
  console.error(`wrote ${bytes} of weights in ${((performance.now() - begun) / 1000).toFixed(1)} s`);

  const layer = SIZES[size].num_hidden_layers / 2;
  const job: Job = {
    ...{ model, device, precision, threads: availableParallelism(), layer, seconds: SECONDS[size] },
    tokens: randomTokens(settings),
    bos: SIZES[size].bos_token_id,
    hooks: SITES.slice(0, settings.hooks).map((site) => `blocks.${layer}.${site}`),
  };
  const path = join(directory, 'job.json');
  writeFileSync(path, JSON.stringify(job));
  const rows = (name: string) => join(directory, `${name}.safetensors`);
  const script = fileURLToPath(new URL('check-gpu-ours.js', import.meta.url));
  const ours = await run(process.execPath, script, path, rows('ours'), device);
  const peer = settings.withoutPeer
    ? undefined
    : await run(
        benchPython('bench/peers/requirements-harvest.txt'),
        'bench/peers/check_gpu.py',
        path,
        rows('peer'),
        device,
      );

  const gpu = await gpuOf(device);
  const what = `Random weights of ${NAMES[size]}, ${precision} on ${device}`;
  const text = [
    `${what}, ${batch} contexts of ${context}, hooks of block ${layer}; median pass (least to most). \`npm run check:gpu\`.`,
    table([['sae-pipe', ours], ...(peer ? [['transformers', peer] as const] : [])]),
  ];
  let agrees = Number.isFinite(ours.clean) && Number.isFinite(ours.zero);
  if (peer) {
    const found = await compare(precision, job.hooks, ours, peer);
    text.push(comparisons('difference (ours, peer) or cosine', found));
    agrees = found.every((comparison) => comparison.agrees);
  } else {
    const [clean, zero] = [ours.clean.toFixed(4), ours.zero.toFixed(4)];
    text.push(`Loss ${clean} nats, zero-ablated ${zero}; compared with nothing.`);
  }
  text.push(`${[...(gpu ? [gpu.name] : []), circumstances(), ...(peer ? [peer.version] : [])].join('; ')}.`);
  if (settings.record) writeSection('check-gpu', 'GPU', text.join('\n\n'));
  else console.log(text.join('\n\n'));
  return agrees;
}

function comparisons(what: string, found: readonly Comparison[]): string {
  const lines = found.map(({ what, value, bound, agrees }) => [what, value, bound, agrees ? 'agrees' : 'DIFFERS']);
  return markdownTable(['compared', what, 'bound', ''], lines);
}

async function checkTrain({ device, record, without }: Settings, directory: string): Promise<boolean> {
  const found = await checkTraining(device, directory, without);
  const gpu = await gpuOf(device);
  const where = [...(gpu ? [gpu.name] : []), circumstances()].join('; ');
  const text = `The CUDA engine. \`npm run check:gpu -- --part train\`.\n\n${comparisons('found', found)}\n\n${where}.`;
  if (record) writeSection('check-gpu-train', 'GPU, training', text);
  else console.log(text);
  return found.every(({ agrees }) => agrees);
}

async function main(): Promise<number> {
  const settings = readFlags();
  const reason = await unusable(settings);
  if (reason !== null) {
    console.error(reason);
    return 3;
  }
  if (settings.part !== 'train') await checkRoom(settings);
  mkdirSync(settings.directory, { recursive: true });
  const directory = mkdtempSync(join(settings.directory, 'sae-pipe-check-gpu-'));
  if (settings.keep) console.error(`the checkpoint stays in ${directory}`);
  else process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  process.on('SIGINT', () => process.exit(130));
  process.on('SIGTERM', () => process.exit(143));
  const agrees = [
    settings.part === 'train' || (await check(settings, directory)),
    settings.part === 'lm' || (await checkTrain(settings, directory)),
  ].every(Boolean);
  console.log(agrees ? '\npassed' : '\nFAILED');
  return agrees ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  console.error([error.message, error.remedy].filter(Boolean).join(' '));
  process.exitCode = error.exitCode;
}
