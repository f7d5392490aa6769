import { createHash } from 'node:crypto';
import { type Manifest, normLimitIn } from '../activations/manifest.js';
import { windowOfWhole } from '../activations/store-parts.js';
import { Window } from '../activations/store-writer.js';
import { batches, type Context, type LeftOut, tooFewTokens } from '../corpus/contexts.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { stopRequested } from '../progress/stop.js';
import { Course } from './course.js';
import type { ForwardPass, PassResult } from './forward-pass.js';
import { leftOutOf } from './harvest-plan.js';
import { ordinaryRows } from './norm-limit.js';
import { isFull, readWindow, rowsOfGroup, withRows } from './window-groups.js';

/** Position of a harvest: the beginning, or where it stopped. */
export interface HarvestPosition {
  /** Number of the current window, counted in the stores. */
  readonly index: number;
  /** The current windows, one per hook; they may have rows already. */
  readonly windows: readonly Window[];
  /** Rows per hook so far, including those of the current window. */
  readonly rows: number;
  /** Complete groups of contexts in the current window; the next group is the rest of the one that was begun. */
  readonly groups: number;
  /** Positions of the windows in the text; if absent, consecutive from its beginning. */
  readonly course?: Course;
}

/** The start of window `index`, the same for every hook. */
export function atWindow(index: number, rows: number, manifests: readonly Manifest[]): HarvestPosition {
  const number = (part: Manifest['part']) => (part ? windowOfWhole(part, index) : index);
  const windows = manifests.map(({ d_in, dtype, part }) => new Window(index, d_in, dtype, number(part)));
  return { index, windows, rows, groups: 0 };
}

/** A window of every hook, and why it ends: it is full, a stop was requested, or there is no more text. */
export interface Assembled {
  readonly windows: readonly Window[];
  /** Rows per hook so far. */
  readonly rows: number;
  readonly end: 'full' | 'stop' | 'text';
}

/**
 * Runs the model over groups of contexts and yields consecutive windows until there are `rows_wanted` rows; only the
 * last may be incomplete. A window must be used before the next is requested; a pass that runs in another thread
 * makes the next one meanwhile. A stop takes effect after the current forward pass, also within a group.
 */
export async function* assembleWindows(
  standing: HarvestPosition,
  manifests: readonly Manifest[],
  groups: AsyncIterator<readonly Context[]>,
  pass: ForwardPass,
  progress: Progress,
  stop: StopRequest,
): AsyncGenerator<Assembled> {
  const { window_batches: perWindow, batch } = manifests[0]!;
  const course = standing.course ?? new Course(manifests[0]!);
  const limit = normLimitIn(manifests[0]!);
  const asking = { over: false };
  const own = course.isDivided ? course.ownGroups(groups, standing) : groups;
  const asked = askPasses(own, pass, { ...askedOf(manifests[0]!), rows: standing.rows, course }, stop, asking);
  const passesOfWindow = perWindow * Math.max(1, Math.ceil(batch / pass.contexts));
  const passes = pass.ahead ? takenAhead(asked, passesOfWindow) : asked;
  // The rows of other parts are known ahead of the current window.
  let { wanted } = course;
  let { index, windows, rows, groups: done } = standing;
  try {
    for (;;) {
      if (isFull(done, windows[0]!.rows, perWindow) || (rows === wanted && windows[0]!.rows > 0)) {
        yield { windows, rows, end: 'full' };
        for (const [k, window] of windows.entries()) pass.reuse?.(k, window.release());
        ({ index, windows, groups: done } = atWindow(index + 1, rows, manifests));
      }
      if (rows === wanted) return;
      for (let ends = false; !ends && rows < wanted; ) {
        if (pass.ahead && stop.signal) return yield { windows, rows, end: 'stop' };
        const next = await passes.next();
        if (next.done) {
          if (rows < course.wanted) yield { windows, rows, end: stop.signal ? 'stop' : 'text' };
          return;
        }
        wanted = next.value.wanted;
        const whole = await next.value.result;
        const ordinary = limit && ordinaryRows(whole, limit, wanted - rows);
        // What stays was copied: a window gives back only the memory that passes wrote its rows to.
        if (ordinary) for (const [k, { activation }] of whole.rows.entries()) pass.reuse?.(k, [activation.buffer]);
        addPass(windows, ordinary ?? whole, ordinary?.leftOut ?? 0);
        rows += (ordinary ?? whole).count;
        progress.update(rows);
        ends = next.value.ends;
      }
      done++;
    }
  } finally {
    asking.over = true;
    // Requests made ahead end by themselves; nothing waits for them.
    passes.return(undefined).catch(() => {});
  }
}

function addPass(windows: readonly Window[], { contexts, rows, norms }: PassResult, leftOut: number): void {
  for (const [k, window] of windows.entries()) {
    window.contexts.push(...contexts);
    window.add(rows[k]!, norms[k]!);
    window.leftOut += leftOut;
  }
}

/** A forward pass that was requested. */
interface AskedPass {
  readonly result: Promise<PassResult>;
  /** Does a group end with it? */
  readonly ends: boolean;
  /** Total rows wanted, as far as known when it was requested. */
  readonly wanted: number;
}

/** The rows to request. */
interface WantedRows {
  readonly leftOut: LeftOut;
  /** Rows received. */
  readonly rows: number;
  /** Determines the number wanted. */
  readonly course: Course;
  /** Are rows known before the pass? Not if some are left out because of their norm. */
  readonly known: boolean;
}

const askedOf = (manifest: Manifest) => ({
  leftOut: leftOutOf(manifest),
  known: normLimitIn(manifest) === undefined,
});

/** Requests passes until all rows are requested, the text ends, a stop is requested, or `asking.over` is set. */
async function* askPasses(
  groups: AsyncIterator<readonly Context[]>,
  pass: ForwardPass,
  { leftOut, rows: there, course, known }: WantedRows,
  stop: StopRequest,
  asking: { readonly over: boolean },
): AsyncGenerator<AskedPass, void> {
  let rows = there;
  while (rows < course.wanted && !asking.over) {
    const { value: group, done } = await groups.next();
    if (done) return;
    for (let i = 0; i < group.length && rows < course.wanted; i += pass.contexts) {
      if ((await stopRequested(stop)) || asking.over) return;
      const part = group.slice(i, i + pass.contexts);
      const result = pass.run(part, leftOut, known ? course.wanted - rows : Number.POSITIVE_INFINITY);
      // The error goes to whoever awaits it.
      result.catch(() => {});
      if (known) rows += Math.min(course.wanted - rows, rowsOfGroup(part, leftOut));
      yield { result, ends: i + pass.contexts >= group.length, wanted: course.wanted };
    }
  }
}

/** Reads up to `most` values ahead of the consumer. */
async function* takenAhead<T>(source: AsyncGenerator<T, void>, most: number): AsyncGenerator<T, void> {
  const coming: Promise<IteratorResult<T, void>>[] = [];
  const ask = () => {
    const next = source.next();
    next.catch(() => {});
    coming.push(next);
  };
  try {
    while (coming.length < most) ask();
    for (;;) {
      const next = await coming.shift()!;
      if (next.done) return;
      ask();
      yield next.value;
    }
  } finally {
    source.return(undefined).catch(() => {});
  }
}

/** Position of a harvest after windows were skipped. */
interface SkippedWindows {
  /** Number of the first window that is not skipped. */
  readonly index: number;
  /** Rows per hook in the windows before it. */
  readonly rows: number;
  /** Groups of contexts from the start of that window. */
  readonly groups: AsyncGenerator<readonly Context[]>;
}

/**
 * Skips every window that ends at or before row `target`, without a forward pass. The windows are those that
 * assembleWindows makes of the same groups.
 *
 * @param text receives their contexts
 */
export async function skipWindows(
  groups: AsyncGenerator<readonly Context[]>,
  manifest: Manifest,
  target: number,
  text: Pick<TextHash, 'add'>,
): Promise<SkippedWindows> {
  const { window_batches: perWindow, rows_wanted: wanted } = manifest;
  const leftOut = leftOutOf(manifest);
  let [index, rows] = [0, 0];
  let held: readonly (readonly Context[])[] = [];
  while (rows < target) {
    const window = await readWindow(groups, perWindow, wanted - rows, leftOut);
    held = window.held;
    if (held.length === 0 || rows + window.rows > target) break;
    text.add(withRows(held.flat(), wanted - rows, leftOut));
    index++;
    rows += window.rows;
    held = [];
  }
  return { index, rows, groups: after(held, groups) };
}

async function* after(
  held: readonly (readonly Context[])[],
  rest: AsyncGenerator<readonly Context[]>,
): AsyncGenerator<readonly Context[]> {
  yield* held;
  yield* rest;
}

/**
 * An endless sequence of groups of `size` contexts from a corpus that is reread whenever it ends. The last group of
 * each reading may be smaller, as in a single reading.
 *
 * @param again called when the corpus has ended for the first time, with the rows of one reading
 * @throws Refusal if a reading gives no row
 */
export async function* epochs(
  contexts: () => AsyncIterable<Context>,
  size: number,
  { leftOut, corpus, wanted }: { readonly leftOut: LeftOut; readonly corpus: string; readonly wanted: number },
  again: (rows: number) => void,
): AsyncGenerator<Context[]> {
  for (let epoch = 0; ; epoch++) {
    let rows = 0;
    for await (const group of batches(contexts(), size)) {
      rows += rowsOfGroup(group, leftOut);
      yield group;
    }
    if (rows === 0) throw tooFewTokens(corpus, 0, wanted);
    if (epoch === 0) again(rows);
  }
}

/** SHA-256 over the contexts of a text, in order: their tokens, and the documents these came from. */
export class TextHash {
  private readonly hash = createHash('sha256');

  add(contexts: readonly Context[]): void {
    for (const { tokens, documents } of contexts) this.hash.update(tokens).update(documents);
  }

  /** The hash of everything added so far; more may be added. */
  digest(): string {
    return this.hash.copy().digest('hex');
  }
}
