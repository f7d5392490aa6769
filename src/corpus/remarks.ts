/** What was unusual in a file and did not stop it from being read; said once it is closed. */
export class Remarks {
  /** Documents without a text: null where it belongs. */
  private nulls = 0;
  /** Halves of surrogate pairs, each read as U+FFFD. */
  private halves = 0;
  private firstHalf = '';

  constructor(
    private readonly file: string,
    private readonly textField: string,
  ) {}

  addNull(): void {
    this.nulls++;
  }

  /** The text with every half of a surrogate pair replaced by U+FFFD: UTF-8, and so a tokenizer, has no such thing. */
  wellFormed(text: string, source: string): string {
    if (!LONE.test(text)) return text;
    return text.replace(LONES, () => {
      if (this.halves++ === 0) this.firstHalf = source;
      return '\ufffd';
    });
  }

  *lines(): Generator<string> {
    if (this.nulls > 0) {
      yield `${this.file}: ${count(this.nulls, 'document')} with null in "${this.textField}" passed over`;
    }
    if (this.halves > 0) {
      yield `${this.file}: ${count(this.halves, 'unpaired surrogate escape')} read as U+FFFD, the first at ${this.firstHalf}`;
    }
  }
}

const LONE = /\p{Surrogate}/u;
const LONES = /\p{Surrogate}/gu;
const count = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`;
