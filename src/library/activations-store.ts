import type { Readable } from 'node:stream';
import type { ActivationSource, SourceDescription } from '../activations/activation-source.js';
import { openStore, type Store } from '../activations/store.js';
import { openStoreSource } from '../activations/store-source.js';
import { openStreamSource } from '../activations/stream-source.js';
import { widen } from '../safetensors/floats.js';
import { Activations } from './activations.js';
import { type RunOptions, stopOf } from './run-options.js';
import { checkWhole } from './stage-options.js';

/** How activations are dealt. */
export interface BatchOptions {
  /** Rows per batch; 4096 by default. The last batch of the last epoch may have fewer. */
  readonly batchSize?: number;
  /** Mix rows over the whole store (of a stream: over as many as are held in memory); true by default. */
  readonly shuffle?: boolean;
  /** The same seed gives the same order. 0 by default. */
  readonly seed?: number;
}

/** Activations that are dealt in batches. */
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

  /** Rows in all. */
  get rows(): number {
    return this.about.rows;
  }

  /** Name of the model whose activations they are. */
  get modelName(): string {
    return this.about.model.name;
  }

  /** Tokens per context, BOS included. */
  get contextSize(): number {
    return this.about.context;
  }
}

/** `rows` rows of a source in batches, as float32; each batch is new and may be kept. */
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

/** Rows of a store as they lie in one of its files, and which tokens they are. */
export interface StoredRows {
  readonly activations: Activations;
  /** [rows] token at the position. */
  readonly tokens: Int32Array;
  /** [rows] number of the context. */
  readonly contexts: Uint32Array;
  /** [rows] position in the context; 0 is BOS where contexts begin with it. */
  readonly positions: Uint32Array;
}

/** An activation store on disk: what `harvest` wrote for one hook. */
export class ActivationsStore extends DealtActivations {
  private constructor(
    about: SourceDescription,
    private readonly store: Store,
    /** @internal As it was named when it was opened: parts need not lie in one directory. */
    readonly named: string,
  ) {
    super(about);
  }

  /**
   * Opens a store.
   *
   * @param directory OUT/<hook> of a harvest, or OUT where it holds one store; or all parts of one, as --activations names them
   * @throws Refusal where it is not a store, or not complete, or a file is missing
   */
  static async open(directory: string): Promise<ActivationsStore> {
    const store = await openStore(directory);
    // Of a directory that holds one store, not the directory: others may come.
    const named = store.parts.length > 1 ? directory : store.directory;
    const source = await openStoreSource({ activations: named });
    await source.close();
    return new ActivationsStore(source.about, store, named);
  }

  get directory(): string {
    return this.store.directory;
  }

  /**
   * Raw activations in batches [batchSize, dIn], float32; every epoch deals every row once.
   *
   * @throws UsageRefusal where a number is not one that can be
   * @throws Refusal where a file was changed since it was written
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
   * The files of the store one after another, with the token of every row. Rows are permuted within windows of the text.
   *
   * @throws Refusal where a file was changed since it was written
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

/** Activations that come through a pipe, from `sae-pipe harvest --out -`; they pass once. */
export class ActivationsStream extends DealtActivations {
  private constructor(private readonly source: ActivationSource) {
    super(source.about);
  }

  /**
   * Reads the header of a stream.
   *
   * @param readable `process.stdin`, or what else the bytes come from
   * @throws Refusal where it is not a stream of rows
   */
  static async open(readable: Readable, options: RunOptions = {}): Promise<ActivationsStream> {
    const { log: say } = options;
    const source = await openStreamSource(readable, { place: 'the stream', stop: stopOf(options), say });
    return new ActivationsStream(source);
  }

  /**
   * Raw activations in batches [batchSize, dIn], float32. The last comes only once the stream's end marker has come. To
   * be called once.
   *
   * @throws Refusal where the stream ends early, or is broken
   */
  batches(options: BatchOptions = {}): AsyncGenerator<Activations> {
    return dealt(this.source, this.rows, options);
  }

  /** Ends the stream, read to its end or not. */
  close(): Promise<void> {
    return this.source.close();
  }
}
