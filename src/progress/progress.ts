import type { StopSignal } from '../errors/refusal.js';

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

/** A piece of work under way: how far it is, how fast it goes, what time it has left. */
export class Task {
  private readonly started: number;
  private first: number | undefined;
  /** Units done; 0 before the first update. */
  done = 0;

  /**
   * @param total units of the whole
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

  /** Has it been told how far it is? */
  get begun(): boolean {
    return this.first !== undefined;
  }

  update(done: number): void {
    // What an earlier run did does not count into the rate.
    this.first ??= done;
    this.done = done;
  }

  /** Seconds since it began. */
  seconds(): number {
    return (this.now() - this.started) / 1000;
  }

  /** Units a second since it began; 0 where nothing is known yet. */
  rate(): number {
    const seconds = this.seconds();
    return seconds > 0 ? (this.done - (this.first ?? this.done)) / seconds : 0;
  }

  /** Seconds that the rest takes at this rate; undefined where there is no rate. */
  left(): number | undefined {
    return secondsLeft(this.total - this.done, this.rate());
  }
}

/** Seconds that `rest` units take at `rate` units per second; undefined where that cannot be told. */
export function secondsLeft(rest: number, rate: number): number | undefined {
  const seconds = rest / rate;
  return rate > 0 && Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

/** A count with three significant figures: 63.9k. */
export function shortCount(n: number): string {
  if (n < 1000) return n.toFixed(n < 10 ? 1 : 0);
  const unit = n < 1e6 ? 'k' : n < 1e9 ? 'M' : 'G';
  const value = n / (unit === 'k' ? 1e3 : unit === 'M' ? 1e6 : 1e9);
  return `${value.toPrecision(3)}${unit}`;
}

/** A number to `digits` significant digits, without trailing zeros. */
export function significant(value: number, digits: number): string {
  return String(Number(value.toPrecision(digits)));
}

/** Seconds as people say them: 1 h 02 min, 3 min 05 s, 12 s. */
export function duration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')} min`;
}

/**
 * Rows as lines of text, columns two spaces apart.
 *
 * @param numbers the first column of numbers, which stand to the right
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

/** What a command gets besides its configuration. */
export interface Terminal {
  readonly progress: Progress;
  readonly stop: StopRequest;
  /** Prints a line of results on standard output. */
  readonly print: (line: string) => void;
}

/** The same for texts that are read as they come. */
export interface TextTerminal extends Terminal {
  /** Writes a part of a line of results. */
  readonly write: (text: string) => void;
}
