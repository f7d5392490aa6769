import { createHash } from 'node:crypto';
import { type Manifest, normLimitIn } from '../activations/manifest.js';
import { Window } from '../activations/store-writer.js';
import { batches, type Context, countActivations, type LeftOut, tooFewTokens } from '../corpus/contexts.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { heard } from '../progress/stop.js';
import type { ForwardPass, PassResult } from './forward-pass.js';
import { leftOutOf } from './harvest-plan.js';
import { ordinaryRows } from './norm-limit.js';

/** Where a harvest stands: at the beginning, or where it stopped. */
interface HarvestStanding {
  /** Number of the window under way. */
  readonly index: number;
  /** The windows under way, one a hook; they may have rows already. */
  readonly windows: readonly Window[];
  /** Rows of a hook so far, those of the window under way included. */
  readonly rows: number;
  /** Whole groups of contexts in the window under way; the next group is what is left of the one begun. */
  readonly groups: number;
}

/** The beginning of window `index`, which is the same for every hook. */
export function atWindow(index: number, rows: number, manifests: readonly Manifest[]): HarvestStanding {
  const windows = manifests.map(({ d_in, dtype }) => new Window(index, d_in, dtype));
  return { index, windows, rows, groups: 0 };
}

/** A window of every hook, and why it ends: it is full, a stop was asked for, or there is no more text. */
export interface Assembled {
  readonly windows: readonly Window[];
  /** Rows of a hook so far. */
  readonly rows: number;
  readonly end: 'full' | 'stop' | 'text';
}

/** Whether a window of this many groups is full. One without a row takes groups until it has some. */
const isFull = (groups: number, rows: number, perWindow: number) => groups >= perWindow && rows > 0;

/**
 * Runs the model over groups of contexts and gives window after window until `rows_wanted` rows are there; only the
 * last can be other than full. A window is to be used before the next is asked for; a pass that runs in another thread
 * makes the next one meanwhile. A stop is heard after each forward pass, also in the midst of a group.
 */
export async function* assembleWindows(
  standing: HarvestStanding,
  manifests: readonly Manifest[],
  groups: AsyncIterator<readonly Context[]>,
  pass: ForwardPass,
  progress: Progress,
  stop: StopRequest,
): AsyncGenerator<Assembled> {
  const { window_batches: perWindow, rows_wanted: wanted, batch } = manifests[0]!;
  const limit = normLimitIn(manifests[0]!);
  const asking = { over: false };
  const asked = askPasses(groups, pass, { ...askedOf(manifests[0]!), left: wanted - standing.rows }, stop, asking);
  const passesOfWindow = perWindow * Math.max(1, Math.ceil(batch / pass.contexts));
  const passes = pass.ahead ? takenAhead(asked, passesOfWindow) : asked;
  let { index, windows, rows, groups: done } = standing;
  try {
    for (;;) {
      if (isFull(done, windows[0]!.rows, perWindow) || (rows === wanted && windows[0]!.rows > 0)) {
        yield { windows, rows, end: 'full' };
        for (const window of windows) window.release();
        ({ index, windows, groups: done } = atWindow(index + 1, rows, manifests));
      }
      if (rows === wanted) return;
      for (let ends = false; !ends && rows < wanted; ) {
        if (pass.ahead && stop.signal) return yield { windows, rows, end: 'stop' };
        const next = await passes.next();
        if (next.done) return yield { windows, rows, end: stop.signal ? 'stop' : 'text' };
        const whole = await next.value.result;
        const ordinary = limit && ordinaryRows(whole, limit, wanted - rows);
        addPass(windows, ordinary ?? whole, ordinary?.leftOut ?? 0);
        rows += (ordinary ?? whole).count;
        progress.update(rows);
        ends = next.value.ends;
      }
      done++;
    }
  } finally {
    asking.over = true;
    // What was asked for ahead ends by itself; nobody waits for it.
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

/** A forward pass that was asked for. */
interface AskedPass {
  readonly result: Promise<PassResult>;
  /** Does a group end with it? */
  readonly ends: boolean;
}

/** Which rows are asked for. */
interface Asked {
  readonly leftOut: LeftOut;
  /** Rows that are wanted. */
  readonly left: number;
  /** Are rows known before the pass? They are not where some are left out for their norm. */
  readonly known: boolean;
}

const askedOf = (manifest: Manifest) => ({
  leftOut: leftOutOf(manifest),
  known: normLimitIn(manifest) === undefined,
});

/** Asks for pass after pass until all rows are asked for, the text ends, a stop is heard, or it is over. */
async function* askPasses(
  groups: AsyncIterator<readonly Context[]>,
  pass: ForwardPass,
  { leftOut, left: wanted, known }: Asked,
  stop: StopRequest,
  asking: { readonly over: boolean },
): AsyncGenerator<AskedPass, void> {
  let left = wanted;
  while (left > 0 && !asking.over) {
    const { value: group, done } = await groups.next();
    if (done) return;
    for (let i = 0; i < group.length && left > 0; i += pass.contexts) {
      if ((await heard(stop)) || asking.over) return;
      const part = group.slice(i, i + pass.contexts);
      const result = pass.run(part, leftOut, known ? left : Number.POSITIVE_INFINITY);
      // Whoever takes it hears what it failed of.
      result.catch(() => {});
      if (known) left -= Math.min(left, rowsOfGroup(part, leftOut));
      yield { result, ends: i + pass.contexts >= group.length };
    }
  }
}

/** Has a source give up to `most` before they are taken. */
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

/** Where a harvest is after whole windows were left out. */
interface SkippedWindows {
  /** Number of the first window that is not left out. */
  readonly index: number;
  /** Rows of a hook in the windows before it. */
  readonly rows: number;
  /** Groups of contexts from that window's beginning on. */
  readonly groups: AsyncGenerator<readonly Context[]>;
}

/**
 * Reads past every window that ends at or before row `target`, without a forward pass. The windows are those that
 * assembleWindows makes of the same groups.
 *
 * @param text gets their contexts
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
  let held: (readonly Context[])[] = [];
  while (rows < target) {
    // Whether a window is left out is known when all of its contexts have been read.
    let inWindow = 0;
    while (!isFull(held.length, inWindow, perWindow) && rows + inWindow < wanted) {
      const { value, done } = await groups.next();
      if (done) break;
      held.push(value);
      inWindow = Math.min(inWindow + rowsOfGroup(value, leftOut), wanted - rows);
    }
    if (held.length === 0 || rows + inWindow > target) break;
    text.add(withRows(held.flat(), wanted - rows, leftOut));
    index++;
    rows += inWindow;
    held = [];
  }
  return { index, rows, groups: after(held, groups) };
}

/** The contexts that a harvest makes a window of: those before `limit` rows are there, as forward-pass.ts takes them. */
function withRows(contexts: readonly Context[], limit: number, leftOut: LeftOut): Context[] {
  let rows = 0;
  const taken: Context[] = [];
  for (const context of contexts) {
    if (rows >= limit) break;
    taken.push(context);
    rows += countActivations(context, leftOut);
  }
  return taken;
}

async function* after(
  held: readonly (readonly Context[])[],
  rest: AsyncGenerator<readonly Context[]>,
): AsyncGenerator<readonly Context[]> {
  yield* held;
  yield* rest;
}

/**
 * Groups of `size` contexts of a corpus that is read again whenever it ends, without end. Each reading ends with the
 * group that is left, as a single one does.
 *
 * @param again called when the corpus has ended for the first time, with the rows of one reading
 * @throws Refusal when a reading gives no row
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

/** Rows that a forward pass over the group gives, known from its tokens alone. */
export function rowsOfGroup(group: readonly Context[], leftOut: LeftOut): number {
  return group.reduce((sum, context) => sum + countActivations(context, leftOut), 0);
}

/** SHA-256 over the contexts of a text, in order: their tokens, and the documents these came from. */
export class TextHash {
  private readonly hash = createHash('sha256');

  add(contexts: readonly Context[]): void {
    for (const { tokens, documents } of contexts) this.hash.update(tokens).update(documents);
  }

  /** Of all that has been added; more may come. */
  digest(): string {
    return this.hash.copy().digest('hex');
  }
}
