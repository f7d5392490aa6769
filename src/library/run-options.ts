import { type Progress, type StopRequest, silent } from '../progress/progress.js';

/** How a long call tells where it is, and is stopped. */
export interface RunOptions {
  /** Called with each line worth reading: remarks, warnings, results. Nothing is printed without it. */
  readonly log?: (line: string) => void;
  /** Called with units done so far, of how many, and what they are (`token`, `byte`, …). */
  readonly onProgress?: (done: number, total: number, unit: string) => void;
  /**
   * Stops the call where nothing is lost, as Ctrl-C does on the command line: it rejects with `Interrupted`, whose
   * message says what is on disk and how to continue.
   */
  readonly signal?: AbortSignal;
}

/** What stages tell, as the caller wants to hear it. */
export function progressOf({ log = () => {}, onProgress = () => {} }: RunOptions): Progress {
  let task = { total: 0, unit: '' };
  return {
    ...silent,
    begin(_label, total, unit) {
      task = { total, unit };
      onProgress(0, total, unit);
    },
    update: (done) => onProgress(done, task.total, task.unit),
    table: () => ({ update() {}, finish: (_row, note) => log(note) }),
    say: log,
    tell: (_event, line) => log(line),
  };
}

/** An abort as stages ask for it; SIGTERM is what a caller sends who ends a process in order. */
export function stopOf({ signal }: RunOptions): StopRequest {
  return {
    get signal() {
      return signal?.aborted ? 'SIGTERM' : undefined;
    },
  };
}
