import type { Writable } from 'node:stream';
import { streamHeader, unfinished, writeStream } from '../activations/row-stream.js';
import type { Rows } from '../activations/rows.js';
import type { HarvestConfig } from '../config/stages/harvest.js';
import { batches, type Context, checkEnoughText, countActivations, tooFewTokens } from '../corpus/contexts.js';
import { openCorpus } from '../corpus/documents.js';
import { corpusName } from '../corpus/mixture.js';
import { corporaRead, readInWords } from '../corpus/read-tally.js';
import { memoryLine } from '../disk/space.js';
import { Interrupted, UsageRefusal } from '../errors/refusal.js';
import { modelDirectory } from '../hub/model-source.js';
import { parseModelConfig } from '../lm/families/registry.js';
import { sayTf32 } from '../onnx/tf32.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { untilStopped } from '../progress/stop.js';
import { assembleWindows, atWindow } from './assemble.js';
import type { ForwardPass } from './forward-pass.js';
import { type HarvestPlan, harvestMemory, leftOutOf, planHarvest } from './harvest-plan.js';
import { withMedian } from './norm-limit.js';
import { openHarvestPass } from './pass-thread.js';

/** `--out` value for standard output. */
export const STANDARD_OUTPUT = '-';
const PLACE = 'standard output';

/**
 * Streams a corpus through the model and writes the rows to `out` as an Arrow IPC stream, in the order of a
 * store with the same flags. No file is written.
 */
export async function harvestToStream(
  config: HarvestConfig,
  out: Writable,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  checkFlags(config, out);
  await openCorpus(config, progress);
  const model = await modelDirectory(config, progress, stop, parseModelConfig);
  const plan = await planHarvest(config, model);
  try {
    const count = (c: Context) => countActivations(c, leftOutOf(plan.manifests[0]!));
    await checkEnoughText(
      untilStopped(plan.text.ahead(), stop),
      count,
      config.tokens,
      corpusName(config),
      progress,
      stop,
    );
    plan.text.remark(progress);
    await streamPlan(plan, config, out, progress, stop);
  } finally {
    await plan.text.close(progress);
  }
}

async function streamPlan(
  plan: HarvestPlan,
  config: HarvestConfig,
  out: Writable,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const pass = await openHarvestPass(plan.checkpoint, plan.hooks, plan.context, plan.config);
  try {
    const begun = await limited(plan, pass, stop);
    const header = streamHeader(begun.manifests[0]!);
    progress.say(memoryLine(await harvestMemory(plan)));
    if (plan.manifests[0]!.precision === 'float32') sayTf32(progress.say, config.device);
    progress.begin('harvesting', config.tokens, 'token');
    await writeStream(out, header, pieces(config, begun, pass, progress, stop), PLACE, stop);
    progress.end();
  } finally {
    await pass.release();
  }
}

/** The plan with the median norm that decides which positions are left out, if any. */
async function limited(plan: HarvestPlan, pass: ForwardPass, stop: StopRequest): Promise<HarvestPlan> {
  const [manifest] = plan.manifests;
  if (manifest!.max_activation_norm_multiple === undefined) return plan;
  const contexts = untilStopped(plan.text.contexts(), stop);
  return { ...plan, manifests: [await withMedian(manifest!, pass, leftOutOf(manifest!), contexts)] };
}

function checkFlags(config: HarvestConfig, out: Writable): void {
  const hooks = new Set(config.hook).size;
  if (hooks > 1) {
    throw new UsageRefusal(
      `--out - takes the rows of one hook, but ${hooks} are given.`,
      'Give one --hook.',
      'harvest/several-hooks',
    );
  }
  for (const flag of ['resume', 'overwrite', 'takeOver', 'shard'] as const) {
    const name = flag === 'takeOver' ? 'take-over' : flag;
    if (config[flag])
      throw new UsageRefusal(
        `--${name} applies to stores, but --out - writes a stream.`,
        'Omit it.',
        'harvest/flag-of-stores',
      );
  }
  if ((out as { isTTY?: boolean }).isTTY) {
    throw new UsageRefusal(
      '--out - writes binary data, but standard output is a terminal.',
      'Pipe it: `sae-pipe harvest … --out - | sae-pipe train --activations - …`.',
      'harvest/terminal',
    );
  }
}

async function* pieces(
  config: HarvestConfig,
  { manifests, text }: HarvestPlan,
  pass: ForwardPass,
  progress: Progress,
  stop: StopRequest,
): AsyncGenerator<Rows> {
  const contexts = untilStopped(text.contexts(), stop);
  const groups = batches(contexts, config.batch);
  const beginning = atWindow(0, 0, manifests);
  let passed = 0;
  let read: Float64Array | undefined;
  try {
    for await (const { windows, rows, end } of assembleWindows(beginning, manifests, groups, pass, progress, stop)) {
      if (end === 'stop') throw new Interrupted(stop.signal!, unfinished(passed, { rows: config.tokens }, PLACE));
      if (end === 'text') throw tooFewTokens(corpusName(config), rows, config.tokens);
      yield* windows[0]!.shards(config.rowsPerShard, config.seed);
      passed += windows[0]!.rows;
      read = windows[0]!.contexts.at(-1)?.read ?? read;
    }
    if (read) for (const line of readInWords(corporaRead(read, config.corpus))) progress.say(line);
  } finally {
    // A harvest rarely ends with its text, whose reader has open files and threads.
    await contexts.return(undefined);
  }
}
