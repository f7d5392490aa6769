import { type Progress, type StopRequest, silent } from '../progress/progress.js';

/** Progress callbacks and cancellation of a long call. */
export interface RunOptions {
  /** Called with each log line: remarks, warnings, results. Nothing is printed without it. */
  readonly log?: (line: string) => void;
  /** Called with the units done so far, the total, and the unit (`token`, `byte`, …). */
  readonly onProgress?: (done: number, total: number, unit: string) => void;
  /**
   * Stops the call at a point where nothing is lost, like Ctrl-C on the command line: it rejects with `Interrupted`,
   * whose message says what is on disk and how to resume.
   */
  readonly signal?: AbortSignal;
}

/** Adapts the callbacks for stages. */
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

/** Adapts an abort signal for stages; SIGTERM is the signal for ending a process properly. */
export function stopOf({ signal }: RunOptions): StopRequest {
  return {
    get signal() {
      return signal?.aborted ? 'SIGTERM' : undefined;
    },
  };
}
