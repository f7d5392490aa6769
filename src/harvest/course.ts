import { encodeContexts } from '../activations/arrow-rows.js';
import type { Manifest } from '../activations/manifest.js';
import { partInWords, type WholeText, WindowChain } from '../activations/store-parts.js';
import { sha256, type Window } from '../activations/store-writer.js';
import type { Context } from '../corpus/contexts.js';
import { Refusal } from '../errors/refusal.js';
import { leftOutOf } from './harvest-plan.js';
import { isFull, readWindow, rowsOfGroup, withRows } from './window-groups.js';

/** Position of the part, like HarvestPosition. */
interface PartPosition {
  readonly windows: readonly Window[];
  readonly rows: number;
  readonly groups: number;
}

/** A requested window of this part. */
interface UnderWay {
  /** Rows of this part, including the window's. */
  own: number;
  /** Groups of the window, its rows, and its contexts. */
  count: number;
  inWindow: number;
  held: Context[];
}

/**
 * The path of a harvest through the windows of its text. If the harvest is divided, windows of other parts are skipped:
 * their rows are counted from their tokens, without a forward pass, so that every part knows where all windows begin
 * and where the rows of the whole end.
 */
export class Course {
  /** Rows in skipped windows of other parts. */
  others = 0;
  private readonly chain = new WindowChain();

  /** @param manifest of any of the stores written together */
  constructor(private readonly manifest: Manifest) {}

  /** Max total rows of this part: rows of other parts count towards --tokens. */
  get wanted(): number {
    return this.manifest.rows_wanted - this.others;
  }

  get isDivided(): boolean {
    return this.manifest.part !== undefined;
  }

  /** What is known of the whole text at its end; undefined if the harvest is not divided. */
  get whole(): WholeText | undefined {
    return this.manifest.part && this.chain.whole();
  }

  /**
   * Skips the windows of other parts before the next one of this part, or to the end of the rows or the text.
   *
   * @param groups of contexts from the beginning of a window
   * @param own rows of this part so far
   */
  async passOver(groups: AsyncIterator<readonly Context[]>, own: number): Promise<void> {
    const { part, window_batches: perWindow } = this.manifest;
    if (!part) return;
    const leftOut = leftOutOf(this.manifest);
    while (this.chain.next % part.of !== part.index && own < this.wanted) {
      const left = this.wanted - own;
      const { held, rows } = await readWindow(groups, perWindow, left, leftOut);
      if (held.length === 0) return;
      const contexts = withRows(held.flat(), left, leftOut);
      this.chain.add({ contexts: contexts.length, sha256: sha256(encodeContexts(contexts)) });
      this.others += rows;
    }
  }

  /**
   * The groups of this part's windows, from its position to the end of the rows or the text. Those of other parts are
   * skipped when a group after them is requested, which may be before the windows preceding them are written.
   *
   * @param groups of contexts from there
   */
  ownGroups(
    groups: AsyncIterator<readonly Context[]>,
    { windows, rows, groups: count }: PartPosition,
  ): AsyncGenerator<readonly Context[]> {
    const [{ rows: inWindow, contexts }] = windows as [Window];
    const at = { own: rows, count, inWindow, held: [...contexts] };
    // The consumer may never request another group.
    this.addIfEnded(at);
    return this.groupsFrom(groups, at);
  }

  private async *groupsFrom(
    groups: AsyncIterator<readonly Context[]>,
    at: UnderWay,
  ): AsyncGenerator<readonly Context[]> {
    const leftOut = leftOutOf(this.manifest);
    for (;;) {
      if (this.hasEnded(at)) {
        await this.passOver(groups, at.own);
        Object.assign(at, { count: 0, inWindow: 0, held: [] });
      }
      if (at.own >= this.wanted) return;
      const { value, done } = await groups.next();
      if (done) return;
      const rows = Math.min(rowsOfGroup(value, leftOut), this.wanted - at.own);
      at.own += rows;
      at.inWindow += rows;
      at.count++;
      at.held.push(...value);
      // Before the group is yielded, for the same reason.
      this.addIfEnded(at);
      yield value;
    }
  }

  private hasEnded({ own, count, inWindow }: UnderWay): boolean {
    return isFull(count, inWindow, this.manifest.window_batches) || (inWindow > 0 && own >= this.wanted);
  }

  private addIfEnded(at: UnderWay): void {
    if (!this.hasEnded(at)) return;
    const contexts = withRows(at.held, this.wanted - at.own + at.inWindow, leftOutOf(this.manifest));
    this.made({ contexts: contexts.length, sha256: sha256(encodeContexts(contexts)) });
  }

  /** Records that a window of this part is done. */
  made(window: { readonly contexts: number; readonly sha256: string }): void {
    this.chain.add(window);
  }

  /**
   * Checks that a window finished by an earlier start is one that --tokens makes.
   *
   * @param own rows of this part before it
   * @throws Refusal if the harvest was begun with another number, whose end fell within it or before
   */
  checkMade({ contexts, rows }: Pick<Manifest['contexts'][number], 'contexts' | 'rows'>, own: number): void {
    const { part, batch, window_batches: perWindow } = this.manifest;
    if (!part) return;
    const left = this.wanted - own;
    const full = contexts % batch === 0 && isFull(contexts / batch, rows, perWindow);
    if (rows === left || (full && rows < left)) return;
    this.checkRows(Number.POSITIVE_INFINITY);
  }

  /** @throws Refusal if this part has more rows than --tokens leaves it */
  checkRows(own: number): void {
    const { part, rows_wanted: wanted } = this.manifest;
    if (!part || own <= this.wanted) return;
    throw new Refusal(
      `Part ${partInWords(part)} was begun with a different --tokens than ${wanted}.`,
      'Resume it with its original --tokens, or start again with --overwrite.',
      'harvest/fewer-tokens',
    );
  }
}
