import type { CorpusFormat, Encoding, IdsDType } from '../config/values.js';
import { type RefusedReply, refusalFrom } from '../errors/refusal.js';
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

/** Standard input comes once, whoever opens it. */
let standardInputTaken = false;

/**
 * The contexts of a corpus. They are tokenized in a separate thread, a little ahead of what is taken; those that are
 * inspected beforehand are kept, so that nothing is tokenized twice.
 */
export class Text {
  private readonly kept: TextChunk[] = [];
  /** Where reading stands behind what is kept; undefined once another reader continues from there. */
  private standing: TextReader | undefined;
  /** Every reading that has not come to its end. */
  private readonly readers = new Set<TextReader>();
  private written: WrittenOut = { documents: 0, tokens: new Map() };
  private readonly lines: string[] = [];
  private told = false;

  private constructor(
    private readonly start: TextStart,
    readonly facts: TokenizerFacts,
  ) {}

  /**
   * Opens the tokenizer.
   *
   * @throws Refusal where it cannot be opened, or does not fit the weights
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

  /** The contexts from the beginning; those that are taken are kept in memory, 4 bytes a token. */
  async *ahead(): AsyncGenerator<Context> {
    for (let i = 0; ; i++) {
      const chunk = this.kept[i] ?? (await this.keepMore());
      if (!chunk) return;
      yield* contextsOf(chunk, this.start.context);
    }
  }

  /** The contexts from the beginning, again and again if need be. */
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
        // Chunks are the same in every reading.
        if (behind > 0) behind--;
        else yield* contextsOf(chunk, context);
      }
    } finally {
      this.readers.delete(reader);
      await reader.close();
    }
  }

  /**
   * The contexts from a position on; nothing before it is read, but what its file cannot be read without.
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

  /** Can positions be kept? Not where documents come in another order than that of their files. */
  get keepsPositions(): boolean {
    const { corpus, documents } = this.start;
    return corpus.length === 1 && documents?.shuffle === undefined;
  }

  /** Says what came up while the text was read, of each thing once: files' lines, special tokens written out. */
  remark({ say }: Pick<Progress, 'say'>): void {
    for (const line of this.lines.splice(0)) say(line);
    if (this.told) return;
    const lines = writtenOutLines(this.written, this.facts);
    for (const line of lines) say(line);
    this.told = lines.length > 0;
  }

  /** Ends all threads, those of readings under way, too, and says what has not been said. */
  async close(progress: Pick<Progress, 'say'>): Promise<void> {
    this.standing = undefined;
    await Promise.all([...this.readers].map((reader) => reader.close()));
    this.readers.clear();
    this.remark(progress);
  }

  private async reopen(): Promise<TextReader> {
    if (this.start.corpus.some(isStandardInput)) throw readTwice('more of it is asked for than came');
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

  private listen({ written, lines }: Heard): void {
    this.written = written;
    this.lines.push(...lines);
  }
}

async function listedOnce(start: TextStart): Promise<TextStart['files']> {
  const files: (readonly CorpusFile[] | undefined)[] = [];
  for (const corpus of start.corpus) {
    files.push(isHubCorpus(corpus) ? (await corpusFiles({ ...start, corpus })).files : undefined);
  }
  return files;
}

/** What to say of special tokens that texts had written out. */
function writtenOutLines({ documents, tokens }: WrittenOut, { bosTokenId: bos, special }: TokenizerFacts): string[] {
  const lines: string[] = [];
  if (documents > 0) {
    const those = documents === 1 ? '1 document begins' : `${documents} documents begin`;
    lines.push(
      `${those} with ${special.get(bos) ?? 'BOS'} written out: that is left out, each document has one anyway.`,
    );
  }
  if (tokens.size > 0) {
    const counts = [...tokens].sort(([a], [b]) => a - b).map(([id, count]) => `${special.get(id)} ${count} times`);
    lines.push(`Special tokens written out within the text: ${counts.join(', ')}.`);
  }
  return lines;
}

/** Chunks that are made ahead of what is taken. */
const AHEAD = 2;
/** Milliseconds that a thread has to close its files. */
const CLOSING_PATIENCE = 1000;

/** One reading of a text, in a thread next to the model's: text-worker.ts is its other end. */
class TextReader {
  private readonly thread: Thread<TextThreadRequest, TextThreadReply>;
  private asked = 0;
  private over = false;

  /** @param hear is told what comes up while the text is read */
  constructor(
    start: TextStart,
    private readonly hear: (heard: Heard) => void,
  ) {
    // What has been made ahead keeps no process alive; who waits for more does.
    const options = { name: "The text's thread", data: start, idle: true };
    this.thread = new Thread(new URL('text-worker.js', import.meta.url), options);
  }

  /**
   * Resolves when the tokenizer is open.
   *
   * @throws Refusal when it cannot be
   */
  async ready(): Promise<TokenizerFacts> {
    const reply = await this.reply();
    if (reply.kind !== 'ready') throw new Error(`the text's thread answered ${reply.kind}`);
    return reply.facts;
  }

  /** Lets reading begin there; to be called before the first contexts are asked for. */
  beginAt(continued: TextContinued): void {
    this.thread.ask(continued);
  }

  /**
   * The next contexts, null after the last.
   *
   * @throws Refusal when the text cannot be read
   */
  async next(): Promise<TextChunk | null> {
    for (; this.asked < AHEAD; this.asked++) this.thread.ask('next');
    const reply = await this.reply();
    if (reply.kind === 'end') this.over = true;
    if (reply.kind !== 'chunk') return null;
    this.thread.ask('next');
    return reply.chunk;
  }

  /** Ends the thread; it is given a moment to say what it has to say. */
  async close(): Promise<void> {
    const closed = new Error('The text was closed');
    this.thread.abandon(closed);
    if (!this.thread.failure && !this.over) {
      this.thread.ask('close');
      const timer = setTimeout(() => this.thread.fail(closed), CLOSING_PATIENCE);
      try {
        while ((await this.reply()).kind !== 'closed');
      } catch {
        // It was asked to end, and ends.
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

/** Which text is to be read, and how. */
export interface TextStart {
  /** The model's directory, for its tokenizer. */
  readonly model: string;
  readonly expected: ExpectedTokens;
  /** One corpus, or several that are mixed. */
  readonly corpus: readonly string[];
  /** Key or column of token ids, read in the place of text, and what numbers of .bin files are. */
  readonly idsField?: string;
  readonly idsDtype?: IdsDType;
  /** How standard input is read. */
  readonly corpusFormat?: CorpusFormat;
  readonly textField: string;
  readonly encoding?: Encoding;
  /** Every document where absent. */
  readonly documents?: DocumentChoice;
  /** Key or column of conversations, where these are read instead of text; and whose tokens become rows. */
  readonly chatField?: string;
  readonly roles?: readonly string[];
  /** Sets the order of the files of the hub. */
  readonly seed?: number;
  readonly offline?: boolean;
  readonly cacheCorpus?: boolean;
  /** Of each corpus of the hub: listed once, so that every reading has the same. */
  readonly files?: readonly (readonly CorpusFile[] | undefined)[];
  /** Tokens a context, BOS included. */
  readonly context: number;
}

/** What is known of the tokenizer. */
export interface TokenizerFacts {
  readonly bosTokenId: number;
  /** Do documents and contexts begin with BOS? */
  readonly prependBos: boolean;
  /** Tokens that stand for no text, by their numbers; those of a chat template among them. */
  readonly special: ReadonlyMap<number, string>;
  /** How conversations are read, where they are. */
  readonly chat?: ChatFacts;
}

/** The thread is asked for a chunk, as often as it is told `next`, or to end; before the first, it may be told where to begin. */
export type TextThreadRequest = 'next' | 'close' | TextContinued;

/** Where a text has been read up to, and what was counted. */
export interface TextContinued {
  readonly position: TextPosition;
  readonly counted: Counted;
}

/** What is said of the text while it is read. */
export interface Heard {
  /** Special tokens met so far. */
  readonly written: WrittenOut;
  /** Lines about files that are done with. */
  readonly lines: readonly string[];
}

/** What the thread says: first that its tokenizer is open, then an answer to each request. */
export type TextThreadReply =
  | { readonly kind: 'ready'; readonly facts: TokenizerFacts }
  | { readonly kind: 'chunk'; readonly chunk: TextChunk; readonly heard: Heard }
  | { readonly kind: 'end'; readonly heard: Heard }
  | { readonly kind: 'closed'; readonly heard: Heard }
  | RefusedReply;
