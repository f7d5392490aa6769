import type { Tensor } from 'onnxruntime-node';
import type { Checkpoint } from '../lm/checkpoint.js';
import { type KeptLayer, keptNames } from '../lm/past.js';
import type { Placement } from '../lm/placement.js';
import { type Feeds, type Fetches, onnxRuntime, openSession, type Session } from '../onnx/session.js';
import type { RowChanges } from './changes.js';
import { changeFeeds } from './steering-feeds.js';
import { STEERED, type SteeredSae } from './steering-graph.js';
import { generationGraph } from './step-graph.js';

/** What a stepper is opened with. */
export interface StepperSettings {
  readonly placement: Placement;
  /** Max tokens of a text, prompt and padding included. */
  readonly longest: number;
  readonly threads?: number;
  readonly saes?: readonly SteeredSae[];
}

/** Texts continued as one batch. */
export interface TextBatch {
  /** Padding tokens before each text. */
  readonly pads: readonly number[];
  /** Changes in each text, if SAEs are steered. */
  readonly changes?: readonly RowChanges[];
}

/** A model run step by step; it caches the current batch of texts. */
export class Stepper {
  private kept: KeptRows | undefined;
  private batch: TextBatch = { pads: [] };
  private changes: Feeds = {};

  private constructor(
    private readonly session: Session,
    private readonly layers: readonly KeptLayer[],
    private readonly settings: StepperSettings,
    private readonly tensor: typeof Tensor,
  ) {}

  static async open(checkpoint: Checkpoint, settings: StepperSettings): Promise<Stepper> {
    const { placement, longest, threads, saes } = settings;
    const { graph, kept } = generationGraph(checkpoint, placement, longest, saes);
    const session = await openSession(graph, { device: placement.device, threads });
    const { Tensor } = await onnxRuntime();
    return new Stepper(session, kept, settings, Tensor);
  }

  /** Bytes of the keys and values for a number of texts. */
  keptBytes(texts: number): number {
    return this.layers.reduce((sum, layer) => sum + 8 * this.settings.longest * rowEntries(layer, texts), 0);
  }

  /** Starts a new batch; the previous one is discarded. */
  begin(batch: TextBatch): void {
    if (this.kept?.texts !== batch.pads.length) {
      // Free the previous cache first.
      this.kept = undefined;
      this.kept = new KeptRows(this.layers, batch.pads.length, this.settings.longest, this.tensor);
    }
    this.kept.length = 0;
    this.batch = batch;
    this.changes = changeFeeds(this.settings.saes ?? [], batch.changes ?? [], this.tensor);
  }

  /**
   * Runs the next tokens of every text.
   *
   * @param tokens [texts × new], padding included
   * @returns logits of what follows each text, [texts × vocabulary]
   */
  async step(tokens: readonly number[]): Promise<Float32Array> {
    const { kept, batch, tensor } = this;
    if (kept === undefined) throw new Error('no batch was started');
    const texts = batch.pads.length;
    const count = tokens.length / texts;
    const int64 = (values: readonly number[], dims: number[]) =>
      new tensor('int64', BigInt64Array.from(values, BigInt), dims);
    const feeds: Feeds = {
      ...this.changes,
      ...kept.feeds(),
      tokens: int64(tokens, [texts, count]),
      first: int64([kept.length], [1]),
      pads: int64(batch.pads, [texts]),
    };
    if (batch.changes) feeds[STEERED] = new tensor('float32', this.steered(count, batch.changes), [texts, count]);
    const outputs = await this.session.run(feeds, { logits: null, ...kept.fetches(count) });
    kept.length += count;
    return outputs.logits!.data as Float32Array;
  }

  release(): Promise<void> {
    this.kept = undefined;
    return this.session.release();
  }

  /** Where features are changed among the next tokens: 1 or 0, [texts × new]. */
  private steered(count: number, changes: readonly RowChanges[]): Float32Array {
    const { pads } = this.batch;
    const first = this.kept!.length;
    return Float32Array.from({ length: pads.length * count }, (_, i) => {
      const text = Math.floor(i / count);
      const position = first + (i % count) - pads[text]!;
      return position >= 0 && changes[text]!.at(position) ? 1 : 0;
    });
  }
}

/** Entries per token in a layer's keys, over all texts. */
const rowEntries = ({ kvHeads, headDim }: KeptLayer, texts: number) => texts * kvHeads * headDim;

/** Key-value cache of all tokens so far. Each layer is allocated in full; a step writes into it. */
class KeptRows {
  /** Number of cached tokens. */
  length = 0;
  private readonly rows: readonly { readonly k: Float32Array; readonly v: Float32Array }[];

  constructor(
    private readonly layers: readonly KeptLayer[],
    readonly texts: number,
    private readonly longest: number,
    private readonly tensor: typeof Tensor,
  ) {
    const room = (layer: KeptLayer) => new Float32Array(longest * rowEntries(layer, texts));
    this.rows = layers.map((layer) => ({ k: room(layer), v: room(layer) }));
  }

  /** The cache as fed to a step: for a layer with a sliding window, only the window. */
  feeds(): Feeds {
    const feeds: Feeds = {};
    for (const [i, layer] of this.layers.entries()) {
      const { past } = keptNames(layer.layer);
      const from = layer.window === null ? 0 : Math.max(0, this.length - layer.window + 1);
      feeds[past.k] = this.view(i, 'k', from, this.length);
      feeds[past.v] = this.view(i, 'v', from, this.length);
    }
    return feeds;
  }

  /** The slots that a step of `count` tokens writes to. */
  fetches(count: number): Fetches {
    if (this.length + count > this.longest) throw new Error('there is no room for this many tokens');
    const fetches: Fetches = {};
    for (const [i, { layer }] of this.layers.entries()) {
      const { fresh } = keptNames(layer);
      fetches[fresh.k] = this.view(i, 'k', this.length, this.length + count);
      fetches[fresh.v] = this.view(i, 'v', this.length, this.length + count);
    }
    return fetches;
  }

  private view(i: number, name: 'k' | 'v', from: number, to: number): Tensor {
    const layer = this.layers[i]!;
    const entries = rowEntries(layer, this.texts);
    const data = this.rows[i]![name].subarray(from * entries, to * entries);
    return new this.tensor('float32', data, [to - from, this.texts, layer.kvHeads, layer.headDim]);
  }
}
