import { POOL_BYTES } from '../activations/pool.js';
import { streamHeader } from '../activations/row-stream.js';
import { buffersOf, type Examples, type Rows } from '../activations/rows.js';
import type { Window } from '../activations/store-writer.js';
import { corpusName } from '../corpus/mixture.js';
import { sayTf32 } from '../onnx/tf32.js';
import { type Progress, silent } from '../progress/progress.js';
import { assembleWindows, atWindow, epochs, skipWindows } from './assemble.js';
import { openForwardPass } from './forward-pass.js';
import { harvestMemory, leftOutOf, planHarvest } from './harvest-plan.js';
import type { LiveReply, LiveStart } from './live-source.js';
import { LiveText } from './live-text.js';

/** Sends replies, with the memory to transfer. */
type Send = (reply: LiveReply, transfer?: ArrayBuffer[]) => void;

const never = { signal: undefined } as const;

/**
 * The harvest of a running model. It computes one window ahead of what is requested, then waits: with the window sent
 * before, two are in memory.
 */
export class LiveHarvest {
  /** For both hooks, if there are two: their rows have the same order. */
  private windows: AsyncGenerator<readonly Window[]> | undefined;
  private ahead: Promise<IteratorResult<readonly Window[]>> | undefined;
  private seed = 0;
  /** Hash of the text of all windows skipped or sent. */
  private readonly text: LiveText;

  private constructor(
    private readonly start: LiveStart,
    private readonly plan: Awaited<ReturnType<typeof planHarvest>>,
    private readonly pass: Awaited<ReturnType<typeof openForwardPass>>,
    private readonly send: Send,
    private readonly progress: Progress,
  ) {
    this.text = new LiveText(start.config.corpus);
  }

  static async open(start: LiveStart, send: Send, progress: Progress = silent): Promise<LiveHarvest> {
    const plan = await planHarvest(start.config, start.model, POOL_BYTES);
    const pass = await openForwardPass(plan.checkpoint, plan.hooks, plan.context, plan.config);
    const memory = await harvestMemory(plan, false);
    const [input, output] = plan.manifests;
    const target = output && { hook: output.hook, dOut: output.d_in };
    if (input!.precision === 'float32') sayTf32((line) => send({ kind: 'say', line }), start.config.device);
    send({ kind: 'ready', header: streamHeader(input!), ...(target && { target }), memory });
    return new LiveHarvest(start, plan, pass, send, progress);
  }

  async begin(seed: number, skip: number): Promise<void> {
    const { plan, start, send } = this;
    const { batch, tokens } = start.config;
    const corpus = corpusName(start.config);
    const again = (rows: number) => send({ kind: 'say', line: `${corpus} ended after ${rows} rows and is read again` });
    const about = { leftOut: leftOutOf(plan.manifests[0]!), corpus, wanted: tokens };
    const groups = epochs(() => plan.text.contexts(), batch, about, again);
    const skipped = await skipWindows(groups, plan.manifests[0]!, skip, this.text);
    send({ kind: 'begun', skipped: { rows: skipped.rows, ...this.text.soFar() } });
    this.seed = seed;
    this.windows = this.assemble(skipped);
    this.goAhead();
  }

  /** Sends the next window once it is ready, and starts the one after it. */
  async window(): Promise<void> {
    const { value: windows, done } = await this.ahead!;
    if (done) return this.send({ kind: 'end' });
    const [input, output] = windows;
    this.text.add(input!.contexts);
    for (const piece of examplesOf(input!, output, this.start.config.rowsPerShard, this.seed)) {
      this.send({ kind: 'piece', rows: piece }, buffersOf(piece));
    }
    this.send({ kind: 'whole', text: this.text.soFar() });
    this.plan.text.remark({ say: (line) => this.send({ kind: 'say', line }) });
    this.goAhead();
  }

  private goAhead(): void {
    this.ahead = this.windows!.next();
    // A failure is reported when the window is requested.
    this.ahead.catch(() => {});
  }

  private async *assemble({
    index,
    rows,
    groups,
  }: Awaited<ReturnType<typeof skipWindows>>): AsyncGenerator<readonly Window[]> {
    const { plan, pass, progress } = this;
    const standing = atWindow(index, rows, plan.manifests);
    // Groups are endless, and the thread ends on request: every window is full.
    for await (const { windows } of assembleWindows(standing, plan.manifests, groups, pass, progress, never)) {
      yield windows;
    }
  }
}

/** Rows of a window in dealing order, with those of another hook's window as their targets. */
function* examplesOf(input: Window, output: Window | undefined, most: number, seed: number): Iterable<Examples> {
  const targets = output?.shards(most, seed)[Symbol.iterator]();
  for (const rows of input.shards(most, seed)) {
    yield targets ? { ...rows, target: (targets.next().value as Rows).activation } : rows;
  }
}
