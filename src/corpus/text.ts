import type { Progress } from '../progress/progress.js';
import type { Context, WrittenOut } from './contexts.js';
import { type Chunk, contextsOf, type Heard, type TextStart, type TokenizerFacts } from './text-protocol.js';
import { TextReader } from './text-reader.js';

/**
 * The contexts of a corpus. They are tokenized in a thread of their own, a little ahead of what is taken; those that are
 * looked at beforehand are kept, so that nothing is tokenized twice.
 */
export class Text {
  private readonly kept: Chunk[] = [];
  /** Where reading stands behind what is kept; undefined once something else goes on from there. */
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
  static async open(start: TextStart): Promise<Text> {
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

  /** Says what came up while the text was read, of each thing once: files' lines, special tokens written out. */
  remark({ say }: Pick<Progress, 'say'>): void {
    for (const line of this.lines.splice(0)) say(line);
    if (this.told) return;
    const lines = remarks(this.written, this.facts);
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

  private async keepMore(): Promise<Chunk | null> {
    const reader = this.standing;
    if (!reader) throw new Error('the text goes on elsewhere');
    const chunk = await reader.next();
    if (chunk) this.kept.push(chunk);
    return chunk;
  }

  private listen({ written, lines }: Heard): void {
    this.written = written;
    this.lines.push(...lines);
  }
}

/** What to say of special tokens that texts had written out. */
export function remarks({ documents, tokens }: WrittenOut, { bosTokenId: bos, special }: TokenizerFacts): string[] {
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
