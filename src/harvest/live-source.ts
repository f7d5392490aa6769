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
 * The corpus is reread when it ends.
 */
export type LiveConfig = Omit<
  HarvestConfig,
  'hook' | 'out' | 'overwrite' | 'resume' | 'takeOver' | 'rowsPerShard' | 'shard'
> & {
  readonly resume?: boolean;
  readonly hook: string;
  readonly hookOut?: string;
};

/** Rows transferred per message. */
const PIECE_ROWS = 4096;

/**
 * A running model as a source for training: a worker thread harvests windows of rows and permutes them, as in a store
 * with the same --window-rows, and training deals one window while the next is computed.
 *
 * @throws Refusal if model, corpus and hook do not fit each other
 */
export async function openLiveSource(
  config: LiveConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<ActivationSource> {
  // Rows with large norms are left out by training.
  const once = { ...config, maxActivationNormMultiple: undefined };
  const { files, pinned } = await openCorpus(once, progress);
  const model = await modelDirectory(config, progress, stop, parseModelConfig);
  // The output settings of a harvest do not apply here.
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
          'Omit --order, or harvest a store and train on that.',
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
      // The window being dealt, the one being computed, and the pieces into which it is copied for transfer.
      const { window = 0, model = 0, pass = 0, text = 0 } = ready.memory;
      return { held: 3 * window + model + pass + text + THREAD_MEMORY, pieceRows: PIECE_ROWS };
    },
    close: () => supply.close(),
  };
}

function describeLive({ header, target }: LiveReady, corpus: string, files: readonly CorpusFile[]): SourceDescription {
  const hooks = target ? `${header.hook} and ${target.hook}` : header.hook;
  // The order's seed is given when rows are requested.
  const { seed: _, ...rest } = header;
  const said = { ...rest, ...(target && { target }), corpus: outline(files) };
  return {
    ...describeStream(header, `${header.model.name} at ${hooks} over ${corpus}`),
    identity: createHash('sha256').update(JSON.stringify(said)).digest('hex'),
    ...(target && { target: { ...target, meanNorm: null } }),
  };
}

/** The memory limit in words. */
function bound({ header, target }: LiveReady, place: string): string {
  const contextRows = rowsPerContext(header.context, header.prepend_bos);
  const rows = Math.min(header.rows, header.window_batches * header.batch * contextRows);
  const bytes = rowBytes(header) + (target ? rowBytes({ ...header, d_in: target.dOut }) : 0);
  return `${place}: at most 2 windows of ${rows} rows in memory, ${formatBytes(2 * rows * bytes)}`;
}

/** Names and sizes of the corpus's files: another text most likely differs in them. */
function outline(files: readonly CorpusFile[]): string {
  return JSON.stringify(files.map(({ name, bytes }) => [name, bytes]));
}

/** The other end of live-worker.ts: requests a window when the previous one has been dealt. */
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

/** Start options of the worker. */
export interface LiveStart {
  readonly config: HarvestConfig;
  /** The model's directory. */
  readonly model: string;
}

export type LiveRequest =
  /** Starts the harvest; windows that end at or before row `skip` are skipped. */
  | { readonly kind: 'begin'; readonly seed: number; readonly skip: number }
  /** Requests the next window; to be sent only once the previous one is released. */
  | { readonly kind: 'window' }
  /** Ends the thread, after the current forward pass. */
  | { readonly kind: 'close' };

/** Model and corpus are open. */
interface LiveReady {
  readonly kind: 'ready';
  /** Description of the rows of the first hook. */
  readonly header: StreamHeader;
  /** Description of a second hook's rows. */
  readonly target?: Omit<Target, 'meanNorm'>;
  readonly memory: MemoryParts;
}

export type LiveReply =
  | LiveReady
  /** The text of the skipped rows. */
  | { readonly kind: 'begun'; readonly skipped: TextRead }
  /** Rows of the requested window, in dealing order. Their memory is transferred. */
  | { readonly kind: 'piece'; readonly rows: Examples }
  /** After the last piece of a window: SHA-256 of the text up to there. */
  | { readonly kind: 'whole'; readonly text: Omit<TextRead, 'rows'> }
  /** There is no further window. */
  | { readonly kind: 'end' }
  | { readonly kind: 'say'; readonly line: string }
  | RefusedReply;
