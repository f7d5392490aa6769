import { formatBytes, memoryLine } from '../disk/space.js';
import { duration, shortCount, textTable } from '../progress/progress.js';
import type { DoctorReport } from './doctor.js';
import { cudaTrainingLines } from './machine.js';

type Line = readonly [name: string, value: string];

/** The report as plain text: sections of two columns. */
export function doctorTable(report: DoctorReport): string {
  const sections: [string, Line[]][] = [
    ['this machine', machineLines(report)],
    ['ONNX Runtime providers', providerLines(report)],
    ['training with --engine cuda', cudaLines(report)],
  ];
  if (report.model) sections.push([`model ${report.model.name}`, modelLines(report.model)]);
  if (report.harvest) sections.push(['harvest', harvestLines(report.harvest)]);
  if (report.training) sections.push(['training', trainingLines(report.training)]);
  if (report.checks.length > 0) sections.push(['does it fit?', checkLines(report.checks)]);
  return sections.map(([title, lines]) => sectionText(title, lines)).join('\n\n');
}

function sectionText(title: string, lines: readonly Line[]): string {
  return [title, ...textTable(lines).map((line) => `  ${line}`)].join('\n');
}

const yesOrNo = (fits: boolean) => (fits ? 'yes' : 'NO');

function machineLines(report: DoctorReport): Line[] {
  const { total, limit, available } = report.memory;
  const allowed = limit < total ? `, ${formatBytes(limit)} allowed to this process` : '';
  return [
    ['sae-pipe', `${report.version}, Node ${report.node}, ONNX Runtime ${report.onnxruntime}, ${report.platform}`],
    ['cores', String(report.cores)],
    ['memory', `${formatBytes(total)}${allowed}, ${formatBytes(available)} free`],
    ...report.gpus.map(
      (gpu, i): Line => [`GPU ${i}`, `${gpu.name}, ${formatBytes(gpu.total)}, ${formatBytes(gpu.free)} free`],
    ),
    ['disk', `${formatBytes(report.disk.free)} free at ${report.disk.path}`],
  ];
}

export function providerLines({ providers }: Pick<DoctorReport, 'providers'>): Line[] {
  const below = (line: string): Line => ['', `    ${line}`];
  return providers.flatMap(({ name, available, reasons, found = [], notes = [] }): Line[] => {
    const [first, ...others] = available ? ['ready', ...notes] : reasons;
    return [[name, available ? first! : `no: ${first}`], ...[...others, ...found].map(below)];
  });
}

function modelLines(model: NonNullable<DoctorReport['model']>): Line[] {
  const { stored, memory } = model.weights;
  return [
    ['parameters', `${shortCount(model.parameters)}, ${model.layers} layers, d_model ${model.d_model}`],
    ['weights', `${formatBytes(stored)} on disk, ${formatBytes(memory)} in memory`],
    ['activations', `about ${formatBytes(model.activations)} per forward pass through the whole model`],
  ];
}

function cudaLines({ cudaTraining }: DoctorReport): Line[] {
  return cudaTrainingLines(cudaTraining).map(
    (line, i): Line => [i === 0 ? 'cuda' : '', i === 0 ? line : `    ${line}`],
  );
}

function harvestLines(harvest: NonNullable<DoctorReport['harvest']>): Line[] {
  const { timing, batch, context } = harvest;
  const speed: Line[] =
    'reason' in timing
      ? [['speed', `not timed: ${timing.reason.replace(/\.$/, '')}`]]
      : [['speed', `${shortCount(timing.tokensPerSecond)} tokens/s (timed, ${timing.batch} contexts per pass)`]];
  return [
    ...harvest.hooks.map(({ name, width }): Line => ['hook', `${name}, d_in ${width}`]),
    ['weights', `${formatBytes(harvest.weights)} in memory, up to the deepest hook`],
    ['activations', `about ${formatBytes(harvest.activations)} per forward pass of ${batch} × ${context} tokens`],
    ['window', `${formatBytes(harvest.window)} of rows, shuffled in memory`],
    ['memory', memoryLine(harvest.memory.parts).replace(/^Memory: |\.$/g, '')],
    ...harvest.devices.map(({ device, ready, needed, free, fits }): Line => {
      const there = free === null ? 'free memory unknown' : `${formatBytes(free)} free, fits: ${yesOrNo(fits)}`;
      return [`on ${device}`, `${formatBytes(needed)}; ${ready ? there : 'not available here'}`];
    }),
    ...(harvest.store === null ? [] : [storeLine(harvest.tokens!, harvest.dtype, harvest.store)]),
    ...speed,
    ...(harvest.duration === null ? [] : [['time', `about ${duration(harvest.duration)}`] as const]),
  ];
}

function storeLine(tokens: number, dtype: string, bytes: number): Line {
  return ['store', `${formatBytes(bytes)} on disk for ${tokens} tokens in ${dtype}`];
}

function trainingLines(training: NonNullable<DoctorReport['training']>): Line[] {
  const { hook, arch, d_in, d_sae, batch } = training;
  return [
    ['SAE', `${arch}, d_in ${d_in} (${hook}), d_sae ${d_sae}, ${shortCount(training.parameters)} parameters`],
    ['state', `${formatBytes(training.state)}: parameters and Adam's second moments, float32`],
    ['batch', `${batch}`],
    ['memory', memoryLine(training.parts).replace(/^Memory: |\.$/g, '')],
  ];
}

function checkLines(checks: DoctorReport['checks']): Line[] {
  return checks.map(({ what, needed, available, fits }) => {
    const there = available === null ? 'unknown' : `${formatBytes(available)} free`;
    return [what, `${yesOrNo(fits)}: ${formatBytes(needed)} needed, ${there}`];
  });
}
