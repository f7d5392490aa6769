import type { Readable } from 'node:stream';
import type { ActivationSource, SourceDescription } from '../activations/activation-source.js';
import { openStore, type Store } from '../activations/store.js';
import { openStoreSource } from '../activations/store-source.js';
import { openStreamSource } from '../activations/stream-source.js';
import { widen } from '../safetensors/floats.js';
import { Activations } from './activations.js';
import { type RunOptions, stopOf } from './run-options.js';
import { checkWhole } from './stage-options.js';

/** How activations are batched. */
export interface BatchOptions {
  /** Rows per batch; 4096 by default. The last batch of the last epoch may have fewer. */
  readonly batchSize?: number;
  /** Shuffle rows over the whole store (for a stream: within the memory buffer); true by default. */
  readonly shuffle?: boolean;
  /** The same seed gives the same order. 0 by default. */
  readonly seed?: number;
}

/** Activations to be read in batches. */
abstract class DealtActivations {
  protected constructor(private readonly about: SourceDescription) {}

  /** The hook point. */
  get hookName(): string {
    return this.about.hook;
  }

  /** Entries per row. */
  get dIn(): number {
    return this.about.dIn;
  }

  /** Total number of rows. */
  get rows(): number {
    return this.about.rows;
  }

  /** Name of the model that the activations come from. */
  get modelName(): string {
    return this.about.model.name;
  }

  /** Tokens per context, BOS included. */
  get contextSize(): number {
    return this.about.context;
  }
}

/** `rows` rows of a source in batches, as float32; each batch is a new array. */
async function* dealt(
  source: ActivationSource,
  rows: number,
  { batchSize = 4096, shuffle = true, seed = 0 }: BatchOptions,
): AsyncGenerator<Activations> {
  checkWhole('batchSize', batchSize, 1);
  checkWhole('seed', seed, 0);
  const { dtype, dIn } = source.about;
  const batches = source.batches(shuffle ? 'shuffled' : 'stored', seed);
  for (let done = 0; done < rows; done += batchSize) {
    const { x } = await batches.next(Math.min(batchSize, rows - done));
    yield new Activations(widen(x, dtype), dIn);
  }
}

/** Rows of one of a store's files, with their tokens and positions. */
export interface StoredRows {
  readonly activations: Activations;
  /** [rows] token at the position. */
  readonly tokens: Int32Array;
  /** [rows] number of the context. */
  readonly contexts: Uint32Array;
  /** [rows] position in the context; 0 is BOS if contexts begin with it. */
  readonly positions: Uint32Array;
}

/** An activation store on disk, written by `harvest` for one hook. */
export class ActivationsStore extends DealtActivations {
  private constructor(
    about: SourceDescription,
    private readonly store: Store,
    /** @internal As named when it was opened: parts need not be in one directory. */
    readonly named: string,
  ) {
    super(about);
  }

  /**
   * Opens a store.
   *
   * @param directory OUT/<hook> of a harvest, or OUT if it contains one store; or all parts of one, as for
   * --activations
   * @throws Refusal if it is not a store or not complete, or a file is missing
   */
  static async open(directory: string): Promise<ActivationsStore> {
    const store = await openStore(directory);
    // The store itself rather than the directory above it: others may be added there.
    const named = store.parts.length > 1 ? directory : store.directory;
    const source = await openStoreSource({ activations: named });
    await source.close();
    return new ActivationsStore(source.about, store, named);
  }

  get directory(): string {
    return this.store.directory;
  }

  /**
   * Raw activations in batches [batchSize, dIn], float32; every epoch returns every row once.
   *
   * @throws UsageRefusal if a number is out of range
   * @throws Refusal if a file was changed since it was written
   */
  async *batches({
    epochs = 1,
    ...options
  }: BatchOptions & { readonly epochs?: number } = {}): AsyncGenerator<Activations> {
    checkWhole('epochs', epochs, 1);
    const source = await openStoreSource({ activations: this.named });
    try {
      yield* dealt(source, epochs * this.rows, options);
    } finally {
      await source.close();
    }
  }

  /**
   * The files of the store one after another, with the token of every row. Rows are shuffled within windows of the
   * text.
   *
   * @throws Refusal if a file was changed since it was written
   */
  async *shards(): AsyncGenerator<StoredRows> {
    const { manifest, shards } = this.store;
    for (let i = 0; i < shards.length; i++) {
      const { activation, token: tokens, context: contexts, pos: positions } = await this.store.readShard(i);
      const activations = new Activations(widen(activation, manifest.dtype), manifest.d_in);
      yield { activations, tokens, contexts, positions };
    }
  }
}

/** Activations from a pipe, written by `sae-pipe harvest --out -`; they can be read once. */
export class ActivationsStream extends DealtActivations {
  private constructor(private readonly source: ActivationSource) {
    super(source.about);
  }

  /**
   * Reads the header of a stream.
   *
   * @param readable `process.stdin`, or another source of the bytes
   * @throws Refusal if it is not a stream of rows
   */
  static async open(readable: Readable, options: RunOptions = {}): Promise<ActivationsStream> {
    const { log: say } = options;
    const source = await openStreamSource(readable, { place: 'the stream', stop: stopOf(options), say });
    return new ActivationsStream(source);
  }

  /**
   * Raw activations in batches [batchSize, dIn], float32. The last batch is returned only once the stream's end marker
   * has arrived. Can be called once.
   *
   * @throws Refusal if the stream ends early or is damaged
   */
  batches(options: BatchOptions = {}): AsyncGenerator<Activations> {
    return dealt(this.source, this.rows, options);
  }

  /** Closes the stream, whether read to its end or not. */
  close(): Promise<void> {
    return this.source.close();
  }
}
