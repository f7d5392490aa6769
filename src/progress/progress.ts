import type { StopSignal } from './stop-signals.js';

/** Where a stage tells how far it is. The command line draws bars; tests and library users may stay silent. */
export interface Progress {
  /** Begins a task of `total` units; ends the one before. */
  begin(label: string, total: number, unit: string): void;
  /** `done` units so far; `note` is a short text with the figures of the moment. */
  update(done: number, note?: string): void;
  end(): void;
  /** Begins several tasks at once, each a row of a live table; `end` ends it. */
  table(label: string, rows: readonly { label: string; total: number }[], unit: string): Table;
  /** A line worth reading afterwards. */
  say(line: string): void;
  /** The same for people; for machines an event with its figures instead. */
  tell(event: 'result' | 'warning', line: string, fields: Readonly<Record<string, unknown>>): void;
}

/** Tasks under way at the same time, by their place in the list they were begun with. */
export interface Table {
  update(row: number, done: number, note?: string): void;
  /** The task is over; what it came to is worth reading afterwards. */
  finish(row: number, note: string): void;
}

export const silent: Progress = {
  begin() {},
  update() {},
  end() {},
  table: () => ({ update() {}, finish() {} }),
  say() {},
  tell() {},
};

/** Asked between steps: has the user pressed Ctrl-C (SIGINT), or has a scheduler sent a signal? */
export interface StopRequest {
  signal: StopSignal | undefined;
}
