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
  /** The text in order, in pieces: a long document never exists whole. Read before the next document is asked for. */
  readonly pieces: Iterable<string> | AsyncIterable<string>;
  /** File and place in it, for messages. */
  readonly source: string;
  /** Of a chat, what the text is yet to be made of; `pieces` are its words until then. */
  readonly conversation?: readonly Message[];
  /** Characters whose tokens become rows, as [from, to, …] in UTF-16 units; all where absent. */
  readonly spans?: readonly number[];
  /** In the place of text: its tokens, which are used as they are. */
  readonly ids?: Iterable<Int32Array> | AsyncIterable<Int32Array>;
  /** Number of its corpus, where there are several. */
  readonly corpus?: number;
  /** Where reading could begin with it. */
  readonly place?: DocumentPlace;
  /** Is told how many tokens it has, BOS not counted, before the next document is asked for. */
  readonly measured?: (tokens: number) => void;
}

/** A piece of the corpus as the model sees it: `length` tokens, the first of them BOS unless contexts have none. */
export interface Context {
  /** Counts from 0 over the corpus. */
  readonly index: number;
  /** [length] */
  readonly tokens: Int32Array;
  /** [length]: which document each token came from, counting from 0; a BOS counts to the document that follows it. */
  readonly documents: Uint32Array;
  /** [length]: 1 where a position can have a row, 0 where its role is left out; all can where absent. */
  readonly counted?: Uint8Array;
  /** What was read of each corpus up to its end, as ReadTally counts it, where that is counted. */
  readonly read?: Float64Array;
  /** Where the text stands behind it (text-position.ts), where reading could begin there. */
  readonly position?: Float64Array;
}

/** Special tokens that texts had written out. */
export interface WrittenOut {
  /** Documents that began with BOS, which was left out: each has one anyway. */
  documents: number;
  /** How often each was found elsewhere, by its number. */
  readonly tokens: Map<number, number>;
}

/**
 * Lays documents end to end, each begun by BOS, and cuts the stream into contexts that each begin with BOS: where the
 * cut falls before a document's own BOS that one serves, elsewhere one is put in front and the context holds
 * `length` − 1 tokens of the stream. A last piece that fills no context is left out. A BOS that a document's text
 * begins with is left out. Where the tokenizer prepends no BOS, the stream is the documents alone, and contexts are
 * `length` tokens of it.
 *
 * @param written takes what special tokens were met so far
 * @param tally counts what is read
 * @param from where the text stands, where it has been read before; documents begin with the one that it stands at
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
    // What was read before is good.
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

/** The context under way, and the document. */
class Packer {
  private index = 0;
  private filled = 0;
  private tokens: Int32Array;
  private sources: Uint32Array;
  private counted: Uint8Array | undefined;
  private document = -1;
  private asTokens = false;
  /** Tokens of the document that are in contexts, and those that the tally has not heard of. */
  private placed = 0;
  private untold = 0;
  /** Tokens of the document so far, without the BOS that it is given. */
  inDocument = 0;
  /** Whether the document has a token yet, and whether its text began with BOS. */
  private begun = false;
  private wroteBos = false;
  private over = false;
  private place: DocumentPlace | undefined;
  /** Tokens of the next document that are in contexts already. */
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
    // Of what comes as tokens, no text has written special ones out.
    this.asTokens = ids !== undefined;
    this.place = place;
    this.document++;
    this.inDocument = 0;
    this.begun = this.used > 0;
    this.placed = this.used;
    this.wroteBos = false;
    this.over = false;
  }

  /** @param counted of each token whether it can have a row; all can where it is not given */
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
      // It waits for the next token, or the end of its last document.
      if (this.isFull) yield this.take(before + i);
      if (prependBos && this.filled === 0 && id !== bos) this.put(bos);
      if (!this.asTokens && special.has(id)) this.written.tokens.set(id, (this.written.tokens.get(id) ?? 0) + 1);
      if (this.placed++ === 0) this.tally?.hasToken();
      this.untold++;
      this.put(id, counted?.[i] ?? 1);
    }
  }

  /** The document is over: a context that it fills to its end says so. */
  *end(): Generator<Context> {
    this.tell();
    if (this.placed > 0) this.tally?.end();
    this.over = true;
    yield* this.full();
  }

  /** The context, where it is full. */
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

  /** @param used tokens of the document that are in it and the contexts before */
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
    // What is in front of a document's first token is read again.
    const tokens = this.placed > 0 ? used : 0;
    const at = { document, file, number, row, byte, tokens, over, ids: asTokens };
    return { position: Float64Array.from(positionFigures(at)) };
  }
}

/** Groups of `size` contexts, the first of `first`; the last may be smaller. */
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
 * @throws Refusal when a token is beyond the model's vocabulary
 */
export function batchTokens(batch: readonly Context[], vocabulary: number): BigInt64Array {
  const length = batch[0]!.tokens.length;
  const tokens = new BigInt64Array(batch.length * length);
  for (const [b, context] of batch.entries()) {
    for (let t = 0; t < length; t++) {
      const token = context.tokens[t]!;
      if (token >= vocabulary) {
        throw new Refusal(
          `The tokenizer gives token ${token}, and the model's vocabulary has ${vocabulary}.`,
          'Tokenizer and weights must be of one checkpoint.',
          'corpus/token-outside-vocabulary',
        );
      }
      tokens[b * length + t] = BigInt(token);
    }
  }
  return tokens;
}

/** Tokens at which activations are neither stored nor measured: BOS where contexts begin with it, and others. */
export type LeftOut = number | ReadonlySet<number>;

export const isLeftOut = (token: number, leftOut: LeftOut): boolean =>
  typeof leftOut === 'number' ? token === leftOut : leftOut.has(token);

/** Is the activation at a position of a context stored and measured? Neither its token nor its role is left out. */
export const hasRow = (
  { tokens, counted }: Pick<Context, 'tokens' | 'counted'>,
  position: number,
  leftOut: LeftOut,
): boolean => counted?.[position] !== 0 && !isLeftOut(tokens[position]!, leftOut);

/**
 * BOS, and the others where there are any.
 *
 * @param bos null where contexts do not begin with it: there it is a token like any other
 */
export function leftOutTokens(bos: number | null, others: readonly number[] = []): LeftOut {
  if (bos === null) return new Set(others);
  return others.length === 0 ? bos : new Set([bos, ...others]);
}

/** Positions of a context of `length` tokens that can have a row. */
export function rowsPerContext(length: number, prependBos: boolean): number {
  return prependBos ? length - 1 : length;
}

/** Positions of a context that are not left out: those whose activations are stored. */
export function countActivations(context: Context, leftOut: LeftOut): number {
  let count = 0;
  for (let t = 0; t < context.tokens.length; t++) if (hasRow(context, t, leftOut)) count++;
  return count;
}

/**
 * Positions counted ahead at most, and twice as many read where few count: they are kept, 80 MB of them, and tokenizing
 * them takes about ten seconds. A longer corpus shows its end when it comes.
 */
export const LOOK_AHEAD = 20_000_000;

/**
 * Makes sure that the corpus holds enough tokens before the model runs.
 *
 * @param count positions of a context that are wanted
 * @throws Refusal naming how many there are
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

/** The refusal of a corpus that ends too early. */
export function tooFewTokens(corpus: string, found: number, wanted: number, how = ''): Refusal {
  if (found === 0) {
    return new Refusal(
      `${corpus} does not fill a single context.`,
      'Use more text, or a shorter --context.',
      'corpus/too-short',
    );
  }
  return new Refusal(
    `${corpus} has ${found} tokens in whole contexts (BOS not counted); --tokens asks for ${wanted}.`,
    `Use --tokens ${found}${how && ` ${how}`}, or more text.`,
    'corpus/too-short',
  );
}
