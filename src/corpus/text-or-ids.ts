import { Refusal } from '../errors/refusal.js';
import type { Document } from './contexts.js';
import { LONGEST_LINE } from './values-of-lines.js';

/** Does the refusal say that there is no text under the key or column? */
const lacksField = (error: unknown): boolean =>
  error instanceof Refusal && ['corpus/no-text', 'corpus/no-text-column'].includes(error.code);

/**
 * Documents of text; or of token ids, if the first document has those and no text.
 *
 * @param ids reads ids from the beginning; undefined if that is no longer possible
 * @param areTexts called once it is clear that ids will not be needed
 */
export async function* textsOrIds(
  texts: AsyncGenerator<Document>,
  ids: () => AsyncGenerator<Document> | undefined,
  areTexts: () => void = () => {},
): AsyncGenerator<Document> {
  const first = await texts.next().catch((refusal: unknown) => {
    if (!lacksField(refusal)) throw refusal;
    return { refusal };
  });
  if ('refusal' in first) {
    const { refusal } = first;
    const found = ids();
    if (!found) throw refusal;
    const begun = await found.next().catch((error: unknown) => {
      throw lacksField(error) ? refusal : error;
    });
    if (!begun.done) yield begun.value;
    return yield* found;
  }
  areTexts();
  try {
    if (!first.done) yield first.value;
    yield* texts;
  } finally {
    await texts.return(undefined);
  }
}

/** Max characters to hold: a line of token ids, and a little of the next one. */
const MOST_HELD = LONGEST_LINE + 2 ** 20;

/** A text that can be restarted without reopening it, as long as little of it has been read. */
export class Begun {
  private held: string[] | undefined = [];
  private characters = 0;

  constructor(private readonly text: AsyncGenerator<string>) {}

  /** Can it be restarted? */
  get isHeld(): boolean {
    return this.held !== undefined;
  }

  /** The text, for the first time; the unread rest remains available. */
  async *first(): AsyncGenerator<string> {
    for (let next = await this.text.next(); !next.done; next = await this.text.next()) {
      this.characters += next.value.length;
      if (this.characters > MOST_HELD) this.drop();
      this.held?.push(next.value);
      yield next.value;
    }
  }

  /** The text from its beginning. */
  async *again(): AsyncGenerator<string> {
    const held = this.held ?? [];
    this.drop();
    yield* held;
    yield* this.text;
  }

  /** Call when it will not be restarted. */
  drop(): void {
    this.held = undefined;
  }
}
