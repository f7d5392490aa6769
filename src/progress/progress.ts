import type { StopSignal } from '../errors/refusal.js';

/** Where a stage reports its progress. The command line draws bars; tests and library users may ignore it. */
export interface Progress {
  /** Begins a task of `total` units; ends the previous one. */
  begin(label: string, total: number, unit: string): void;
  /** `done` units so far; `note` is a short text with current figures. */
  update(done: number, note?: string): void;
  end(): void;
  /** Begins several tasks at once, each a row of a live table; `end` ends it. */
  table(label: string, rows: readonly { label: string; total: number }[], unit: string): Table;
  /** A line to keep in the log. */
  say(line: string): void;
  /** The same; with --log json, an event with its figures instead. */
  tell(event: 'result' | 'warning', line: string, fields: Readonly<Record<string, unknown>>): void;
}

/** Concurrent tasks, by index in the list they were started with. */
export interface Table {
  update(row: number, done: number, note?: string): void;
  /** The task has ended; its result is worth a line in the log. */
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

/** Polled between steps: has the user pressed Ctrl-C (SIGINT), or has a scheduler sent a signal? */
export interface StopRequest {
  signal: StopSignal | undefined;
}

/** A running task: its progress, rate and remaining time. */
export class Task {
  private readonly started: number;
  private first: number | undefined;
  /** Units done; 0 before the first update. */
  done = 0;

  /**
   * @param total number of units
   * @param now a clock in milliseconds
   */
  constructor(
    readonly label: string,
    readonly total: number,
    readonly unit: string,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.started = now();
  }

  /** Has it received an update? */
  get begun(): boolean {
    return this.first !== undefined;
  }

  update(done: number): void {
    // Work done by an earlier run does not count towards the rate.
    this.first ??= done;
    this.done = done;
  }

  /** Seconds since it began. */
  seconds(): number {
    return (this.now() - this.started) / 1000;
  }

  /** Units per second since it began; 0 if unknown. */
  rate(): number {
    const seconds = this.seconds();
    return seconds > 0 ? (this.done - (this.first ?? this.done)) / seconds : 0;
  }

  /** Estimated remaining seconds; undefined without a rate. */
  left(): number | undefined {
    return secondsLeft(this.total - this.done, this.rate());
  }
}

/** Seconds for `rest` units at `rate` units per second; undefined if unknown. */
export function secondsLeft(rest: number, rate: number): number | undefined {
  const seconds = rest / rate;
  return rate > 0 && Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

/** A count with three significant figures: 63.9k. */
export function shortCount(n: number): string {
  if (n < 1000) return n.toFixed(n < 10 && !Number.isInteger(n) ? 1 : 0);
  const unit = n < 1e6 ? 'k' : n < 1e9 ? 'M' : 'G';
  const value = n / (unit === 'k' ? 1e3 : unit === 'M' ? 1e6 : 1e9);
  return `${value.toPrecision(3)}${unit}`;
}

/** A number to `digits` significant digits, without trailing zeros. */
export function significant(value: number, digits: number): string {
  return String(Number(value.toPrecision(digits)));
}

/** A duration in words: 1 h 02 min, 3 min 05 s, 12 s. */
export function duration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')} min`;
}

/**
 * Formats rows as lines of text, columns two spaces apart.
 *
 * @param numbers index of the first numeric column; these are right-aligned
 */
export function textTable(rows: readonly (readonly string[])[], numbers = Number.POSITIVE_INFINITY): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) => {
    const cells = row.map((cell, i) => {
      if (i >= numbers) return cell.padStart(widths[i]!);
      return i === row.length - 1 ? cell : cell.padEnd(widths[i]!);
    });
    return cells.join('  ');
  });
}

/** Everything a command gets besides its configuration. */
export interface Terminal {
  readonly progress: Progress;
  readonly stop: StopRequest;
  /** Prints a line of results on standard output. */
  readonly print: (line: string) => void;
}

/** The same for text that is printed as it is generated. */
export interface TextTerminal extends Terminal {
  /** Prints a part of a line. */
  readonly write: (text: string) => void;
}
