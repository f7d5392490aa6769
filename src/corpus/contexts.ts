import { Refusal } from '../errors/refusal.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, throwIfStopped } from '../progress/stop.js';
import type { Message } from './chats/conversation.js';
import { countedTokens } from './chats/counted.js';
import type { ReadTally } from './read-tally.js';
import { type DocumentPlace, positionFigures, type TextPosition } from './text-position.js';
import type { Tokenizer } from './tokenizer.js';

/** One text of the corpus. */
export interface Document {
  /**
   * The text in order, in pieces: a long document is never in memory at once. Must be read before requesting the next
   * document.
   */
  readonly pieces: Iterable<string> | AsyncIterable<string>;
  /** File and place in it, for messages. */
  readonly source: string;
  /** For a chat, the messages to render; `pieces` are their plain text until then. */
  readonly conversation?: readonly Message[];
  /** Characters whose tokens become rows, as [from, to, …] in UTF-16 units; all if absent. */
  readonly spans?: readonly number[];
  /** Token ids in place of text, used unchanged. */
  readonly ids?: Iterable<Int32Array> | AsyncIterable<Int32Array>;
  /** Number of its corpus, if there are several. */
  readonly corpus?: number;
  /** Where reading could start with it. */
  readonly place?: DocumentPlace;
  /** Called with its number of tokens, BOS not counted, before the next document is requested. */
  readonly measured?: (tokens: number) => void;
}

/** A stretch of the corpus as the model sees it: `length` tokens, the first of them BOS unless contexts have none. */
export interface Context {
  /** Counted from 0 over the corpus. */
  readonly index: number;
  /** [length] */
  readonly tokens: Int32Array;
  /** [length]: number of each token's document, counted from 0; a BOS belongs to the document that follows it. */
  readonly documents: Uint32Array;
  /** [length]: 1 if a position can have a row, 0 if its role is left out; all can if absent. */
  readonly counted?: Uint8Array;
  /** Read from each corpus up to its end, in ReadTally's figures, if counted. */
  readonly read?: Float64Array;
  /** Position of the text after it (text-position.ts), if reading could start there. */
  readonly position?: Float64Array;
}

/** Special tokens written out in texts. */
export interface WrittenOut {
  /** Number of documents that began with BOS, which was dropped: each has one anyway. */
  documents: number;
  /** Number of other occurrences, by token id. */
  readonly tokens: Map<number, number>;
}

/**
 * Lays documents end to end, each preceded by BOS, and cuts the stream into contexts that each begin with BOS: if the
 * cut falls before a document's own BOS, that one serves; otherwise one is prepended and the context holds `length` − 1
 * tokens of the stream. An incomplete last context is dropped, as is a BOS in the text at the start of a document. If
 * the tokenizer prepends no BOS, the stream is the documents alone, and contexts are `length` tokens of it.
 *
 * @param written accumulates the special tokens met so far
 * @param tally counts what is read
 * @param from position of the text if part of it was read before; `documents` begins with the document at that position
 */
export async function* packContexts(
  documents: AsyncIterable<Document> | Iterable<Document>,
  tokenizer: Tokenizer,
  length: number,
  written: WrittenOut = { documents: 0, tokens: new Map() },
  tally?: ReadTally,
  from?: TextPosition,
): AsyncGenerator<Context> {
  const packer = new Packer(tokenizer, length, written, tally);
  if (from) packer.continueAt(from);
  let passed = from?.over === true;
  try {
    for await (const document of documents) {
      if (passed) {
        passed = false;
        continue;
      }
      tally?.begin(document.corpus);
      packer.begin(document);
      yield* packDocument(document, tokenizer, packer);
      document.measured?.(packer.inDocument);
      yield* packer.end();
    }
  } catch (error) {
    // Contexts completed before an error are still valid.
    yield* packer.full();
    throw error;
  }
}

async function* packDocument(
  { pieces, ids: given, source, spans }: Document,
  tokenizer: Tokenizer,
  packer: Packer,
): AsyncGenerator<Context> {
  if (given) {
    for await (const ids of given) yield* packer.add(ids);
    return;
  }
  const tokens = tokenizer.begin(source);
  if (spans) {
    let text = '';
    for await (const piece of pieces) text += piece;
    const ids = [...tokens.push(text), ...tokens.end()].flatMap((part) => [...part]);
    yield* packer.add(Int32Array.from(ids), countedTokens(tokenizer, ids, text, spans, source));
    return;
  }
  for await (const piece of pieces) {
    for (const ids of tokens.push(piece)) yield* packer.add(ids);
  }
  for (const ids of tokens.end()) yield* packer.add(ids);
}

/** The current context and document. */
class Packer {
  private index = 0;
  private filled = 0;
  private tokens: Int32Array;
  private sources: Uint32Array;
  private counted: Uint8Array | undefined;
  private document = -1;
  private asTokens = false;
  /** Tokens of the document already in contexts, and those not yet reported to the tally. */
  private placed = 0;
  private untold = 0;
  /** Tokens of the document so far, without its prepended BOS. */
  inDocument = 0;
  /** Whether the document has a token yet, and whether its text began with BOS. */
  private begun = false;
  private wroteBos = false;
  private over = false;
  private place: DocumentPlace | undefined;
  /** Tokens of the next document that are already in contexts. */
  private used = 0;

  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly length: number,
    private readonly written: WrittenOut,
    private readonly tally?: ReadTally,
  ) {
    this.tokens = new Int32Array(length);
    this.sources = new Uint32Array(length);
  }

  /** The text has been packed up to there. */
  continueAt({ contexts, document, tokens, over }: TextPosition): void {
    this.index = contexts;
    this.document = over ? document : document - 1;
    this.used = over ? 0 : tokens;
  }

  begin({ ids, place }: Document): void {
    // Documents of token ids contain no written-out special tokens.
    this.asTokens = ids !== undefined;
    this.place = place;
    this.document++;
    this.inDocument = 0;
    this.begun = this.used > 0;
    this.placed = this.used;
    this.wroteBos = false;
    this.over = false;
  }

  /** @param counted for each token, whether it can have a row; all can if not given */
  *add(ids: Int32Array, counted?: Uint8Array): Generator<Context> {
    const { bosTokenId: bos, prependBos, special } = this.tokenizer;
    this.tally?.content(ids, prependBos ? bos : undefined);
    const used = Math.min(this.used, ids.length);
    this.used -= used;
    const before = this.inDocument;
    this.inDocument += ids.length;
    for (let i = used; i < ids.length; i++) {
      const id = ids[i]!;
      if (prependBos && !this.begun) {
        if (id === bos) {
          if (!this.wroteBos && !this.asTokens) this.written.documents++;
          this.wroteBos = true;
          continue;
        }
        this.begun = true;
        // The document's own BOS; an empty document adds nothing.
        if (this.isFull) yield this.take(before + i);
        this.put(bos);
      }
      // Deferred until the next token, or the end of its last document.
      if (this.isFull) yield this.take(before + i);
      if (prependBos && this.filled === 0 && id !== bos) this.put(bos);
      if (!this.asTokens && special.has(id)) this.written.tokens.set(id, (this.written.tokens.get(id) ?? 0) + 1);
      if (this.placed++ === 0) this.tally?.hasToken();
      this.untold++;
      this.put(id, counted?.[i] ?? 1);
    }
  }

  /** Ends the document: a context that it fills exactly records that. */
  *end(): Generator<Context> {
    this.tell();
    if (this.placed > 0) this.tally?.end();
    this.over = true;
    yield* this.full();
  }

  /** The context, if it is full. */
  *full(): Generator<Context> {
    if (this.isFull) yield this.take(this.inDocument);
  }

  private tell(): void {
    this.tally?.tokens(this.untold);
    this.untold = 0;
  }

  private get isFull(): boolean {
    return this.filled === this.length;
  }

  private put(id: number, counts = 1): void {
    this.tokens[this.filled] = id;
    if (counts === 0) this.counted ??= new Uint8Array(this.length).fill(1);
    if (this.counted) this.counted[this.filled] = counts;
    this.sources[this.filled] = this.document;
    this.filled++;
  }

  /** @param used tokens of the document in this and earlier contexts */
  private take(used: number): Context {
    const { index, tokens, sources: documents, counted } = this;
    this.tell();
    const read = this.tally?.soFar();
    const position = this.position(used);
    const context = { index, tokens, documents, ...(counted && { counted }), ...(read && { read }), ...position };
    this.counted = undefined;
    this.index++;
    this.filled = 0;
    this.tokens = new Int32Array(this.length);
    this.sources = new Uint32Array(this.length);
    return context;
  }

  private position(used: number): Pick<Context, 'position'> {
    const { place, document, over, asTokens } = this;
    if (place?.file === undefined || place.number === undefined) return {};
    const { file, number, row, byte } = place;
    // The prefix before a document's first token is read again.
    const tokens = this.placed > 0 ? used : 0;
    const at = { document, file, number, row, byte, tokens, over, ids: asTokens };
    return { position: Float64Array.from(positionFigures(at)) };
  }
}

/** Batches of `size` contexts (`first` in the first); the last may be smaller. */
export async function* batches(
  contexts: AsyncIterable<Context>,
  size: number,
  first = size,
): AsyncGenerator<Context[]> {
  let batch: Context[] = [];
  let wanted = first;
  for await (const context of contexts) {
    batch.push(context);
    if (batch.length === wanted) {
      yield batch;
      batch = [];
      wanted = size;
    }
  }
  if (batch.length > 0) yield batch;
}

/**
 * Tokens of a batch as the model's int64 input, [batch × length].
 *
 * @throws Refusal if a token is outside the model's vocabulary
 */
export function batchTokens(batch: readonly Context[], vocabulary: number): BigInt64Array {
  const length = batch[0]!.tokens.length;
  const tokens = new BigInt64Array(batch.length * length);
  for (const [b, context] of batch.entries()) {
    for (let t = 0; t < length; t++) {
      const token = context.tokens[t]!;
      if (token >= vocabulary) {
        throw new Refusal(
          `The tokenizer produced token ${token}, but the model's vocabulary has only ${vocabulary}.`,
          'Tokenizer and weights must be of one checkpoint.',
          'corpus/token-outside-vocabulary',
        );
      }
      tokens[b * length + t] = BigInt(token);
    }
  }
  return tokens;
}

/** Tokens whose activations are neither stored nor measured: BOS if contexts begin with it, and others. */
export type LeftOut = number | ReadonlySet<number>;

export const isLeftOut = (token: number, leftOut: LeftOut): boolean =>
  typeof leftOut === 'number' ? token === leftOut : leftOut.has(token);

/** Is the activation at a position stored and measured? Only if neither its token nor its role is left out. */
export const hasRow = (
  { tokens, counted }: Pick<Context, 'tokens' | 'counted'>,
  position: number,
  leftOut: LeftOut,
): boolean => counted?.[position] !== 0 && !isLeftOut(tokens[position]!, leftOut);

/**
 * BOS, and the others if there are any.
 *
 * @param bos null if contexts do not begin with it: then it is an ordinary token
 */
export function leftOutTokens(bos: number | null, others: readonly number[] = []): LeftOut {
  if (bos === null) return new Set(others);
  return others.length === 0 ? bos : new Set([bos, ...others]);
}

/** Positions of a context of `length` tokens that can have a row. */
export function rowsPerContext(length: number, prependBos: boolean): number {
  return prependBos ? length - 1 : length;
}

/** Positions of a context that are not left out: those with stored activations. */
export function countActivations(context: Context, leftOut: LeftOut): number {
  let count = 0;
  for (let t = 0; t < context.tokens.length; t++) if (hasRow(context, t, leftOut)) count++;
  return count;
}

/**
 * Max positions to count in advance (twice as many tokens are read if few positions count): they are kept, 80 MB, and
 * tokenizing them takes about ten seconds. A longer corpus shows its end when it is reached.
 */
export const LOOK_AHEAD = 20_000_000;

/**
 * Checks that the corpus has enough tokens before the model runs.
 *
 * @param count counts the wanted positions of a context
 * @throws Refusal with the number of tokens found
 */
export async function checkEnoughText(
  contexts: AsyncIterable<Context>,
  count: (context: Context) => number,
  wanted: number,
  corpus: string,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const enough = Math.min(wanted, LOOK_AHEAD);
  progress.begin('counting tokens', enough, 'token');
  let found = 0;
  let read = 0;
  const seenEnough = () => found >= enough || read >= 2 * LOOK_AHEAD;
  for await (const context of contexts) {
    throwIfStopped(stop, NOTHING_BEGUN);
    found += count(context);
    read += context.tokens.length;
    if (context.index % 64 === 0) progress.update(Math.min(found, enough));
    if (seenEnough()) break;
  }
  progress.update(Math.min(found, enough));
  progress.end();
  if (seenEnough()) return;
  throwIfStopped(stop, NOTHING_BEGUN);
  throw tooFewTokens(corpus, found, wanted);
}

/** The error for a corpus that ends too early. */
export function tooFewTokens(corpus: string, found: number, wanted: number, how = ''): Refusal {
  if (found === 0) {
    return new Refusal(
      `${corpus} does not fill a single context.`,
      'Use more text, or a shorter --context.',
      'corpus/too-short',
    );
  }
  return new Refusal(
    `${corpus} has ${found} tokens in complete contexts (BOS not counted); --tokens is ${wanted}.`,
    `Use --tokens ${found}${how && ` ${how}`}, or more text.`,
    'corpus/too-short',
  );
}
