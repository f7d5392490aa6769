import { createHash } from 'node:crypto';
import type { ActivationSource, SourceDescription, Target, TextRead } from '../activations/activation-source.js';
import { rowBytes } from '../activations/manifest.js';
import { type Filled, Pool, PoolBatches, type PoolSupply } from '../activations/pool.js';
import { describeStream, type StreamHeader } from '../activations/row-stream.js';
import type { Examples } from '../activations/rows.js';
import type { HarvestConfig } from '../config/stages/harvest.js';
import { rowsPerContext } from '../corpus/contexts.js';
import { openCorpus } from '../corpus/documents.js';
import type { CorpusFile } from '../corpus/file-kind.js';
import { corpusName } from '../corpus/mixture.js';
import { formatBytes, type MemoryParts, THREAD_MEMORY } from '../disk/space.js';
import { type RefusedReply, refusalFrom, UsageRefusal } from '../errors/refusal.js';
import { modelDirectory } from '../hub/model-source.js';
import { parseModelConfig } from '../lm/families/registry.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, unlessStopped } from '../progress/stop.js';
import { Thread } from '../progress/thread.js';

/**
 * A harvest of one hook, and of another for targets if there is one: --tokens rows, in windows of about --window-rows.
 * The corpus is read again when it ends.
 */
export type LiveConfig = Omit<
  HarvestConfig,
  'hook' | 'out' | 'overwrite' | 'resume' | 'takeOver' | 'rowsPerShard' | 'shard'
> & {
  readonly resume?: boolean;
  readonly hook: string;
  readonly hookOut?: string;
};

/** Rows that change hands in one message. */
const PIECE_ROWS = 4096;

/**
 * A running model as a source for training: a worker thread harvests windows of rows and permutes them, as a store with
 * the same --window-rows would hold them, and training deals one window while the next is made.
 *
 * @throws Refusal when model, corpus and hook do not fit one another
 */
export async function openLiveSource(
  config: LiveConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<ActivationSource> {
  // What is left out for its norm is left out by training.
  const once = { ...config, maxActivationNormMultiple: undefined };
  const { files, pinned } = await openCorpus(once, progress);
  const model = await modelDirectory(config, progress, stop, parseModelConfig);
  // Of a harvest's settings, those of its output have no part here.
  const harvest = {
    maxActivationNormMultiple: undefined,
    shard: undefined,
    out: '-',
    overwrite: false,
    resume: false,
    takeOver: false,
    rowsPerShard: PIECE_ROWS,
  };
  const { hook, hookOut, ...rest } = config;
  const hooks = hookOut === undefined ? [hook] : [hook, hookOut];
  const supply = new LiveSupply({ model, config: { ...rest, ...harvest, corpus: [...pinned], hook: hooks } }, progress);
  let ready: LiveReady;
  let about: SourceDescription;
  try {
    ready = await unlessStopped(supply.open(), stop, () => NOTHING_BEGUN);
    about = describeLive(ready, corpusName(config), files);
  } catch (error) {
    await supply.close();
    throw error;
  }
  const { place } = about;
  let asked = false;
  return {
    about,
    batches(order, seed) {
      if (order === 'stored') {
        throw new UsageRefusal(
          'With --model, rows arrive already shuffled, one window at a time; there is no stored order.',
          'Leave --order out, or harvest a store and train on that.',
          'harvest/no-stored-order',
        );
      }
      if (asked) throw new Error(`${place} passes once`);
      asked = true;
      supply.seed = seed;
      progress.say(bound(ready, place));
      return new PoolBatches(about, supply, stop);
    },
    memory: () => {
      // The window that is dealt, that which is made, and the pieces into which it is copied to be handed over.
      const { window = 0, model = 0, pass = 0, text = 0 } = ready.memory;
      return { held: 3 * window + model + pass + text + THREAD_MEMORY, pieceRows: PIECE_ROWS };
    },
    close: () => supply.close(),
  };
}

function describeLive({ header, target }: LiveReady, corpus: string, files: readonly CorpusFile[]): SourceDescription {
  const hooks = target ? `${header.hook} and ${target.hook}` : header.hook;
  // The order's seed is reported when rows are asked for.
  const { seed: _, ...rest } = header;
  const said = { ...rest, ...(target && { target }), corpus: outline(files) };
  return {
    ...describeStream(header, `${header.model.name} at ${hooks} over ${corpus}`),
    identity: createHash('sha256').update(JSON.stringify(said)).digest('hex'),
    ...(target && { target: { ...target, meanNorm: null } }),
  };
}

/** The bound on memory in words. */
function bound({ header, target }: LiveReady, place: string): string {
  const contextRows = rowsPerContext(header.context, header.prepend_bos);
  const rows = Math.min(header.rows, header.window_batches * header.batch * contextRows);
  const bytes = rowBytes(header) + (target ? rowBytes({ ...header, d_in: target.dOut }) : 0);
  return `${place}: at most 2 windows of ${rows} rows in memory, ${formatBytes(2 * rows * bytes)}`;
}

/** Names and sizes of the corpus's files: another text is most likely told by them. */
function outline(files: readonly CorpusFile[]): string {
  return JSON.stringify(files.map(({ name, bytes }) => [name, bytes]));
}

/** The other end of live-worker.ts: asks for a window when the one before has been dealt. */
class LiveSupply implements PoolSupply {
  seed = 0;
  private readonly thread: Thread<LiveRequest, LiveReply>;

  constructor(start: LiveStart, progress: Progress) {
    const aside = (reply: LiveReply) => {
      if (reply.kind === 'say') progress.say(reply.line);
      else if (reply.kind === 'refused') this.thread.fail(refusalFrom(reply));
      else return false;
      return true;
    };
    const options = { name: "The harvest's thread", data: start, aside };
    this.thread = new Thread(new URL('live-worker.js', import.meta.url), options);
  }

  /** Resolves when model and corpus are open. */
  open(): Promise<LiveReady> {
    return this.reply('ready');
  }

  async skip(rows: number): Promise<TextRead> {
    this.thread.ask({ kind: 'begin', seed: this.seed, skip: rows });
    return (await this.reply('begun')).skipped;
  }

  async next(): Promise<Filled | null> {
    this.thread.ask({ kind: 'window' });
    const pieces: Examples[] = [];
    for (;;) {
      const reply = await this.reply('piece', 'whole', 'end');
      if (reply.kind === 'end') return null;
      if (reply.kind === 'whole') return { pool: new Pool(pieces), text: reply.text };
      pieces.push(reply.rows);
    }
  }

  async close(): Promise<void> {
    this.thread.ask({ kind: 'close' });
    await this.thread.ended;
  }

  private async reply<K extends LiveReply['kind']>(...kinds: K[]): Promise<LiveReply & { kind: K }> {
    const reply = await this.thread.reply();
    if (!(kinds as string[]).includes(reply.kind)) throw new Error(`the harvest answered ${reply.kind}`);
    return reply as LiveReply & { kind: K };
  }
}

/** What the worker is started with. */
export interface LiveStart {
  readonly config: HarvestConfig;
  /** The model's directory. */
  readonly model: string;
}

export type LiveRequest =
  /** Begins the harvest; windows that end at or before row `skip` are left out. */
  | { readonly kind: 'begin'; readonly seed: number; readonly skip: number }
  /** Asks for the next window, and may be sent once the one before has been let go of. */
  | { readonly kind: 'window' }
  /** Ends the thread, after the forward pass under way. */
  | { readonly kind: 'close' };

/** Model and corpus are open. */
interface LiveReady {
  readonly kind: 'ready';
  /** Of the rows of the first hook. */
  readonly header: StreamHeader;
  /** Of a second hook. */
  readonly target?: Omit<Target, 'meanNorm'>;
  readonly memory: MemoryParts;
}

export type LiveReply =
  | LiveReady
  /** The text of the rows that were left out. */
  | { readonly kind: 'begun'; readonly skipped: TextRead }
  /** Rows of the window asked for, in the order in which they are to be dealt. Their memory changes hands. */
  | { readonly kind: 'piece'; readonly rows: Examples }
  /** After the last piece of a window: SHA-256 of the text up to there. */
  | { readonly kind: 'whole'; readonly text: Omit<TextRead, 'rows'> }
  /** There is no further window. */
  | { readonly kind: 'end' }
  | { readonly kind: 'say'; readonly line: string }
  | RefusedReply;
