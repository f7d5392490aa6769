/** Where a stage tells how far it is. The command line draws bars; tests and library users may stay silent. */
export interface Progress {
  /** Begins a task of `total` units; ends the one before. */
  begin(label: string, total: number, unit: string): void;
  /** `done` units so far; `note` is a short text with the figures of the moment. */
  update(done: number, note?: string): void;
  end(): void;
  /** A line worth reading afterwards. */
  say(line: string): void;
}

export const silent: Progress = { begin() {}, update() {}, end() {}, say() {} };

/** Asked between steps: has the user pressed Ctrl-C (SIGINT) or has the scheduler sent SIGTERM? */
export interface StopRequest {
  signal: 'SIGINT' | 'SIGTERM' | undefined;
}
