import type { Manifest } from '../activations/manifest.js';
import { Window } from '../activations/window.js';
import type { Context } from '../corpus/contexts.js';
import { heard } from '../progress/heard.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import type { ForwardPass } from './forward-pass.js';
import { leftOutOf } from './store-plan.js';

/** Where a harvest stands: at the beginning, or where it stopped. */
export interface Standing {
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
export function atWindow(index: number, rows: number, manifests: readonly Manifest[]): Standing {
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

/**
 * Runs the model over groups of contexts and gives window after window until `rows_wanted` rows are there; only the
 * last can be other than full. A window is to be used before the next is asked for. A stop is heard after each forward
 * pass, also in the midst of a group.
 */
export async function* assembleWindows(
  standing: Standing,
  manifests: readonly Manifest[],
  groups: AsyncIterator<readonly Context[]>,
  pass: ForwardPass,
  progress: Progress,
  stop: StopRequest,
): AsyncGenerator<Assembled> {
  const { window_batches: perWindow, rows_wanted: wanted } = manifests[0]!;
  const leftOut = leftOutOf(manifests[0]!);
  let { index, windows, rows, groups: done } = standing;
  for (;;) {
    if (done === perWindow || (rows === wanted && windows[0]!.rows > 0)) {
      yield { windows, rows, end: 'full' };
      for (const window of windows) window.release();
      ({ index, windows, groups: done } = atWindow(index + 1, rows, manifests));
    }
    if (rows === wanted) return;
    const group = await groups.next();
    if (group.done) return yield { windows, rows, end: stop.signal ? 'stop' : 'text' };
    for (let i = 0; i < group.value.length && rows < wanted; i += pass.contexts) {
      if (await heard(stop)) return yield { windows, rows, end: 'stop' };
      const result = await pass.run(group.value.slice(i, i + pass.contexts), leftOut, wanted - rows);
      for (const [k, window] of windows.entries()) {
        window.contexts.push(...result.contexts);
        window.add(result.rows[k]!, result.norms[k]!);
      }
      rows += result.count;
      progress.update(rows);
    }
    done++;
  }
}
