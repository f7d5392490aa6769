/** A growable list of tokens. */
export class TokenList {
  private held = new Int32Array(1024);
  length = 0;

  push(token: number): void {
    if (this.length === this.held.length) this.grow(1);
    this.held[this.length++] = token;
  }

  /** Adds tokens[from..to). */
  add(tokens: Int32Array, from: number, to: number): void {
    if (this.length + to - from > this.held.length) this.grow(to - from);
    const { held } = this;
    let at = this.length;
    for (let i = from; i < to; i++) held[at++] = tokens[i]!;
    this.length = at;
  }

  /** Returns a copy of the contents and frees the list. */
  take(): Int32Array {
    const taken = this.held.slice(0, this.length);
    this.length = 0;
    return taken;
  }

  private grow(more: number): void {
    const held = new Int32Array(2 * (this.held.length + more));
    held.set(this.held.subarray(0, this.length));
    this.held = held;
  }
}
