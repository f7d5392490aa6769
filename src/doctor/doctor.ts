import { resolve } from 'node:path';
import { version } from '../config/flags.js';
import type { DoctorConfig } from '../config/stages/machine.js';
import { trainSchema } from '../config/stages/train.js';
import { formatBytes, freeSpace, type MemoryParts, memoryTotal } from '../disk/space.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { activationMemory } from '../harvest/forward-pass.js';
import { modelDirectory } from '../hub/model-source.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import { parseModelConfig } from '../lm/families/registry.js';
import { findHook, type Hook, hookName } from '../lm/hooks.js';
import { blockParameters, chooseContext, chooseDType, contextsAtOnce, type WithDType } from '../lm/pass.js';
import { cores } from '../machine/cores.js';
import { freeOnGpu, gpus } from '../machine/gpus.js';
import { memory } from '../machine/memory.js';
import { onnxRuntime } from '../onnx/session.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { cudaTraining, type Provider, providers } from './machine.js';
import {
  harvestMemoryNeeds,
  harvestNeeds,
  harvestWeights,
  modelWeights,
  placementOn,
  type Timing,
  trainingNeeds,
  tryTiming,
} from './needs.js';

export type DoctorReport = Awaited<ReturnType<typeof doctor>>;

/** The complete report; sizes in bytes, times in seconds. */
export async function doctor(config: DoctorConfig, progress: Progress, stop: StopRequest) {
  for (const flag of ['tokens', 'hook', 'dSae'] as const) {
    if (config[flag] === undefined || config.model !== undefined) continue;
    const name = flag === 'dSae' ? 'd-sae' : flag;
    throw new UsageRefusal(`--${name} requires --model.`, 'Add --model.', 'doctor/flag-without-model');
  }
  if (!/^(cpu|webgpu|cuda(:\d+)?)$/.test(config.device)) {
    throw new UsageRefusal(`"${config.device}" is not a device.`, 'Use cpu, cuda, cuda:N or webgpu.', 'onnx/no-device');
  }
  const machine = await machineReport(config);
  if (config.model === undefined)
    return { ...machine, model: null, harvest: null, training: null, checks: [], fits: true };
  const directory = await modelDirectory({ ...config, model: config.model }, progress, stop, parseModelConfig);
  const checkpoint = await openCheckpoint(directory);
  const { layers } = checkpoint.config;
  const names = config.hook ?? [hookName(layers - 1, 'hook_resid_post')];
  const hooks = [...new Set(names)].map((name) => findHook(name, checkpoint.config));
  const chosen = { ...config, dtype: chooseDType(config.dtype, checkpoint) };
  return { ...machine, ...(await workReport(checkpoint, hooks, chosen, machine)) };
}

async function machineReport(config: DoctorConfig) {
  const { env } = await onnxRuntime();
  return {
    version: version(),
    node: process.version,
    onnxruntime: env.versions.node ?? env.versions.common,
    platform: `${process.platform}-${process.arch}`,
    cores: cores(),
    memory: memory(),
    device: config.device,
    disk: { path: config.out, free: await freeSpace(resolve(config.out)) },
    providers: await providers(),
    cudaTraining: await cudaTraining(config.device),
    gpus: await gpus(),
  };
}

type Machine = Awaited<ReturnType<typeof machineReport>>;

async function workReport(
  checkpoint: Checkpoint,
  hooks: readonly Hook[],
  config: WithDType<DoctorConfig>,
  machine: Machine,
) {
  const context = chooseContext(config.context, checkpoint.config);
  const needs = harvestNeeds(checkpoint, hooks, context, config);
  const parts = await harvestMemoryNeeds(checkpoint, hooks, context, config);
  const inMemory = memoryChecks(config, machine, needs.weights + needs.activations, parts);
  const checks = [...inMemory];
  if (needs.store !== null) {
    const remedy = 'Use fewer --tokens, or choose an --out on a larger disk.';
    checks.push(check('the activation store', needs.store, machine.disk.free, remedy));
  }
  const training = config.dSae === undefined ? null : trainingReport(config, hooks[0]!);
  if (training) {
    const available = freeOn(config.device, machine);
    checks.push(check('training the SAE', training.memory, available, 'Train a smaller dictionary (--d-sae).'));
  }
  // A model that does not fit in memory is not timed.
  const room = inMemory.every(({ fits }) => fits);
  const timing = room ? await tryTiming(checkpoint, hooks, context, config) : { reason: 'the model does not fit' };
  return {
    model: modelReport(checkpoint, context, config),
    harvest: {
      hooks: hooks.map(({ name, width }) => ({ name, width })),
      ...{ dtype: config.dtype, batch: config.batch, context, tokens: config.tokens ?? null },
      ...needs,
      memory: { total: memoryTotal(parts), parts },
      devices: machine.providers.map(({ name, available }) => {
        const weights = harvestWeights(checkpoint, hooks, context, config, name);
        const onDevice = name === 'cpu' ? memoryTotal(parts) : weights + needs.activations;
        const { needed, available: free, fits } = check(name, onDevice, freeOn(name, machine), '');
        return { device: name, ready: available, needed, free, fits };
      }),
      timing,
      duration: config.tokens === undefined ? null : durationOf(config.tokens, timing),
    },
    training,
    checks,
    fits: checks.every(({ fits }) => fits),
  };
}

/** On a GPU, weights and values are in its memory; everything else is in host memory. */
function memoryChecks(config: DoctorConfig, machine: Machine, onDevice: number, parts: MemoryParts): Check[] {
  const { available } = machine.memory;
  const remedy = 'Use a smaller --batch or --context, an earlier --hook, or a machine with more memory.';
  if (config.device === 'cpu') return [check('harvesting', memoryTotal(parts), available, remedy)];
  return [
    check(`the model on ${config.device}`, onDevice, freeOn(config.device, machine), remedy),
    check('the rest of harvesting', memoryTotal({ ...parts, model: 0, pass: 0 }), available, remedy),
  ];
}

/** Free memory of a device; null if unknown. */
function freeOn(device: string, { gpus, memory }: Pick<Machine, 'gpus' | 'memory'>): number | null {
  if (device === 'cpu') return memory.available;
  if (!device.startsWith('cuda')) return null;
  return freeOnGpu(device, gpus) ?? null;
}

/** Needs of the whole model, as in an evaluation. */
function modelReport(checkpoint: Checkpoint, context: number, doctor: WithDType<DoctorConfig>) {
  const { name, directory, tensors, config } = checkpoint;
  const atOnce = contextsAtOnce(blockParameters(config), context, doctor.device);
  let [parameters, stored] = [0, 0];
  for (const { shape, length } of tensors.values()) {
    parameters += shape.reduce((product, dim) => product * dim, 1);
    stored += length;
  }
  return {
    ...{ name, directory, parameters, layers: config.layers, d_model: config.hidden },
    weights: { stored, memory: modelWeights(checkpoint, placementOn(doctor.device, checkpoint, doctor)).bytes },
    activations: activationMemory(config, [], Math.min(doctor.batch, atOnce), context),
  };
}

function trainingReport(config: WithDType<DoctorConfig>, { name, width }: Hook) {
  const batch = trainSchema.shape.batch.parse(undefined);
  const dSae = config.dSae!;
  return {
    hook: name,
    arch: config.arch,
    d_in: width,
    d_sae: dSae,
    batch,
    ...trainingNeeds(config, width, dSae),
  };
}

function durationOf(tokens: number, timing: Timing | { reason: string }): number | null {
  return 'reason' in timing ? null : timing.opening + tokens / timing.tokensPerSecond;
}

/** One need and what is available for it. */
interface Check {
  /** What needs it: "harvest: memory". */
  readonly what: string;
  /** Bytes. */
  readonly needed: number;
  /** Bytes; null if unknown. */
  readonly available: number | null;
  readonly fits: boolean;
  readonly remedy: string;
}

/** The parts of a report that decide the exit code. */
interface Verdict {
  readonly device: string;
  readonly providers: readonly Provider[];
  readonly checks: readonly Check[];
}

/** Compares a need with what is available; unknown counts as enough. */
export function check(what: string, needed: number, available: number | null, remedy: string): Check {
  return { what, needed, available, fits: available === null || needed <= available, remedy };
}

/**
 * Throws if the device cannot be used or something does not fit.
 *
 * @throws Refusal naming the first thing that does not
 */
export function requireFit({ device, providers, checks }: Verdict): void {
  const provider = providers.find(({ name }) => name === device.replace(/:.*/, ''));
  if (provider && !provider.available) {
    throw new Refusal(
      `Device ${device} cannot be used: ${provider.reasons[0]}.`,
      'Use --device cpu, or install what is missing.',
      'onnx/device-unusable',
    );
  }
  const failed = checks.find(({ fits }) => !fits);
  if (!failed) return;
  throw new Refusal(
    `This does not fit: ${failed.what} needs ${formatBytes(failed.needed)}, but ${formatBytes(failed.available!)} are free.`,
    failed.remedy,
    'doctor/does-not-fit',
  );
}
