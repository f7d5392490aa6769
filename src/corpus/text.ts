import type { CorpusFormat, Encoding, IdsDType } from '../config/values.js';
import { Refusal, type RefusedReply, refusalFrom } from '../errors/refusal.js';
import type { Progress } from '../progress/progress.js';
import { Thread } from '../progress/thread.js';
import type { ChatFacts } from './chats/chats.js';
import type { Context, WrittenOut } from './contexts.js';
import type { DocumentChoice } from './document-choice.js';
import { corpusFiles } from './documents.js';
import type { CorpusFile } from './file-kind.js';
import { isHubCorpus } from './hub-reference.js';
import type { Counted } from './read-tally.js';
import { isStandardInput, readTwice } from './standard-input.js';
import { contextsOf, type TextChunk } from './text-chunk.js';
import type { TextPosition } from './text-position.js';
import type { ExpectedTokens } from './tokenizer.js';

/** Standard input can be read only once, whoever opens it. */
let standardInputTaken = false;

/**
 * The contexts of a corpus. They are tokenized in a separate thread, slightly ahead of the reader; contexts read in
 * advance are kept, so that nothing is tokenized twice.
 */
export class Text {
  private readonly kept: TextChunk[] = [];
  /** The reader's position after the kept contexts; undefined once another reader continues from there. */
  private standing: TextReader | undefined;
  /** Every reader that has not reached its end. */
  private readonly readers = new Set<TextReader>();
  private written: WrittenOut = { documents: 0, tokens: new Map() };
  private readonly lines: string[] = [];
  private told = false;
  private whole: number | undefined;

  private constructor(
    private readonly start: TextStart,
    readonly facts: TokenizerFacts,
  ) {}

  /**
   * Opens the tokenizer.
   *
   * @throws Refusal if it cannot be opened, or does not fit the weights
   */
  static async open(asked: TextStart): Promise<Text> {
    if (asked.corpus.some(isStandardInput)) {
      if (standardInputTaken) throw readTwice('this command reads it for a second purpose');
      standardInputTaken = true;
    }
    const start = { ...asked, files: await listedOnce(asked) };
    let text: Text | undefined;
    const reader = new TextReader(start, (heard) => text?.listen(heard));
    try {
      text = new Text(start, await reader.ready());
      text.standing = reader;
      text.readers.add(reader);
      return text;
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  /**
   * The contexts from the beginning; those read are kept in memory, 4 bytes per token.
   *
   * @throws Refusal if there is not a single one
   */
  async *ahead(): AsyncGenerator<Context> {
    for (let i = 0; ; i++) {
      const chunk = this.kept[i] ?? (await this.keepMore());
      if (!chunk && i === 0 && this.whole !== undefined) throw noContext(this.start, this.whole);
      if (!chunk) return;
      yield* contextsOf(chunk, this.start.context);
    }
  }

  /** The contexts from the beginning, repeatedly if needed. */
  async *contexts(): AsyncGenerator<Context> {
    const { context } = this.start;
    for (const chunk of this.kept) yield* contextsOf(chunk, context);
    let behind = this.kept.length;
    let reader = this.standing;
    this.standing = undefined;
    if (reader) behind = 0;
    else reader = await this.reopen();
    try {
      for (let chunk = await reader.next(); chunk; chunk = await reader.next()) {
        // Chunks are the same in every pass.
        if (behind > 0) behind--;
        else yield* contextsOf(chunk, context);
      }
    } finally {
      this.readers.delete(reader);
      await reader.close();
    }
  }

  /**
   * The contexts from a position on; nothing before it is read, except where its file format requires it.
   */
  async *contextsFrom(continued: TextContinued): AsyncGenerator<Context> {
    const reader = this.kept.length === 0 && this.standing ? this.standing : await this.reopen();
    if (reader === this.standing) this.standing = undefined;
    try {
      reader.beginAt(continued);
      for (let chunk = await reader.next(); chunk; chunk = await reader.next()) {
        yield* contextsOf(chunk, this.start.context);
      }
    } finally {
      this.readers.delete(reader);
      await reader.close();
    }
  }

  /** Can positions be recorded? Not if documents are not in the order of their files. */
  get keepsPositions(): boolean {
    const { corpus, documents } = this.start;
    return corpus.length === 1 && documents?.shuffle === undefined;
  }

  /** Reports what came up while reading the text, each thing once: remarks on files, special tokens written out. */
  remark({ say }: Pick<Progress, 'say'>): void {
    for (const line of this.lines.splice(0)) say(line);
    if (this.told) return;
    const lines = writtenOutLines(this.written, this.facts);
    for (const line of lines) say(line);
    this.told = lines.length > 0;
  }

  /** Ends all threads, including active readers, and reports what has not been reported. */
  async close(progress: Pick<Progress, 'say'>): Promise<void> {
    this.standing = undefined;
    await Promise.all([...this.readers].map((reader) => reader.close()));
    this.readers.clear();
    this.remark(progress);
  }

  private async reopen(): Promise<TextReader> {
    if (this.start.corpus.some(isStandardInput)) throw readTwice('more of it is needed than was provided');
    const reader = new TextReader(this.start, () => {});
    this.readers.add(reader);
    try {
      await reader.ready();
      return reader;
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  private async keepMore(): Promise<TextChunk | null> {
    const reader = this.standing;
    if (!reader) throw new Error('another reader has taken over this text');
    const chunk = await reader.next();
    if (chunk) this.kept.push(chunk);
    return chunk;
  }

  private listen({ written, lines, whole }: Heard): void {
    this.whole = whole;
    this.written = written;
    this.lines.push(...lines);
  }
}

function noContext({ corpus, context }: TextStart, tokens: number): Refusal {
  return new Refusal(
    `${corpus.join(' + ')} has ${tokens} tokens, too few for a single context of ${context}.`,
    'Use more text, or a shorter --context.',
    'corpus/too-short',
  );
}

async function listedOnce(start: TextStart): Promise<TextStart['files']> {
  const files: (readonly CorpusFile[] | undefined)[] = [];
  for (const corpus of start.corpus) {
    files.push(isHubCorpus(corpus) ? (await corpusFiles({ ...start, corpus })).files : undefined);
  }
  return files;
}

/** A remark about special tokens written out in texts. */
function writtenOutLines({ documents, tokens }: WrittenOut, { bosTokenId: bos, special }: TokenizerFacts): string[] {
  const lines: string[] = [];
  if (documents > 0) {
    const those = documents === 1 ? '1 document begins' : `${documents} documents begin`;
    lines.push(
      `${those} with ${special.get(bos) ?? 'BOS'} written out; it is dropped, since each document gets one anyway.`,
    );
  }
  if (tokens.size > 0) {
    const counts = [...tokens].sort(([a], [b]) => a - b).map(([id, count]) => `${special.get(id)} ${count} times`);
    lines.push(`Special tokens written out within the text: ${counts.join(', ')}.`);
  }
  return lines;
}

/** Chunks made ahead of the reader. */
const AHEAD = 2;
/** Milliseconds for a thread to close its files. */
const CLOSING_PATIENCE = 1000;

/** One pass over a text, in a separate thread; text-worker.ts is its other end. */
class TextReader {
  private readonly thread: Thread<TextThreadRequest, TextThreadReply>;
  private asked = 0;
  private over = false;

  /** @param hear told what comes up while the text is read */
  constructor(
    start: TextStart,
    private readonly hear: (heard: Heard) => void,
  ) {
    // Prefetching keeps no process alive; waiting for a chunk does.
    const options = { name: "The text's thread", data: start, idle: true };
    this.thread = new Thread(new URL('text-worker.js', import.meta.url), options);
  }

  /**
   * Resolves when the tokenizer is open.
   *
   * @throws Refusal if it cannot be opened
   */
  async ready(): Promise<TokenizerFacts> {
    const reply = await this.reply();
    if (reply.kind !== 'ready') throw new Error(`the text's thread answered ${reply.kind}`);
    return reply.facts;
  }

  /** Makes reading start there; call before requesting the first contexts. */
  beginAt(continued: TextContinued): void {
    this.thread.ask(continued);
  }

  /**
   * The next contexts, null after the last.
   *
   * @throws Refusal if the text cannot be read
   */
  async next(): Promise<TextChunk | null> {
    for (; this.asked < AHEAD; this.asked++) this.thread.ask('next');
    const reply = await this.reply();
    if (reply.kind === 'end') this.over = true;
    if (reply.kind !== 'chunk') return null;
    this.thread.ask('next');
    return reply.chunk;
  }

  /** Ends the thread, with a moment for its last reports. */
  async close(): Promise<void> {
    const closed = new Error('The text was closed');
    this.thread.abandon(closed);
    if (!this.thread.failure && !this.over) {
      this.thread.ask('close');
      const timer = setTimeout(() => this.thread.fail(closed), CLOSING_PATIENCE);
      try {
        while ((await this.reply()).kind !== 'closed');
      } catch {
        // Ending on request is not an error.
      } finally {
        clearTimeout(timer);
      }
    }
    this.thread.fail(closed);
    await this.thread.terminate();
  }

  private async reply(): Promise<Exclude<TextThreadReply, { kind: 'refused' }>> {
    const reply = await this.thread.reply();
    if (reply.kind === 'refused') throw refusalFrom(reply);
    if (reply.kind !== 'ready') this.hear(reply.heard);
    return reply;
  }
}

/** Which text to read, and how. */
export interface TextStart {
  /** The model's directory, for its tokenizer. */
  readonly model: string;
  readonly expected: ExpectedTokens;
  /** One corpus, or several that are mixed. */
  readonly corpus: readonly string[];
  /** Key or column of token ids, read in place of text, and the element type of .bin files. */
  readonly idsField?: string;
  readonly idsDtype?: IdsDType;
  /** Format of standard input. */
  readonly corpusFormat?: CorpusFormat;
  readonly textField: string;
  readonly encoding?: Encoding;
  /** Every document if absent. */
  readonly documents?: DocumentChoice;
  /** Key or column of conversations, if these are read instead of text; and the roles whose tokens become rows. */
  readonly chatField?: string;
  readonly roles?: readonly string[];
  /** Seed for the order of hub files. */
  readonly seed?: number;
  readonly offline?: boolean;
  readonly cacheCorpus?: boolean;
  /** For each hub corpus: listed once, so that every pass reads the same files. */
  readonly files?: readonly (readonly CorpusFile[] | undefined)[];
  /** Tokens per context, BOS included. */
  readonly context: number;
}

/** Properties of the tokenizer. */
export interface TokenizerFacts {
  readonly bosTokenId: number;
  /** Do documents and contexts begin with BOS? */
  readonly prependBos: boolean;
  /** Tokens that stand for no text, by id, including those of a chat template. */
  readonly special: ReadonlyMap<number, string>;
  /** How conversations are read, if they are. */
  readonly chat?: ChatFacts;
}

/** Requests to the thread: `next` chunk, or to close; before the first chunk, the start position. */
export type TextThreadRequest = 'next' | 'close' | TextContinued;

/** Position up to which a text has been read, and its counts so far. */
export interface TextContinued {
  readonly position: TextPosition;
  readonly counted: Counted;
}

/** Remarks on the text while it is read. */
export interface Heard {
  /** Special tokens met so far. */
  readonly written: WrittenOut;
  /** Remarks about finished files. */
  readonly lines: readonly string[];
  /** At the end of the text: its tokens, without prepended BOS, including those that fill no context. */
  readonly whole?: number;
}

/** Replies of the thread: first that its tokenizer is open, then one per request. */
export type TextThreadReply =
  | { readonly kind: 'ready'; readonly facts: TokenizerFacts }
  | { readonly kind: 'chunk'; readonly chunk: TextChunk; readonly heard: Heard }
  | { readonly kind: 'end'; readonly heard: Heard }
  | { readonly kind: 'closed'; readonly heard: Heard }
  | RefusedReply;
