import type { MultiBar, SingleBar } from 'cli-progress';
import { duration, type Progress, shortCount, type Table, Task } from './progress.js';

/** Seconds between lines without a terminal to draw on (a log file, a cluster job). */
const LINE_INTERVAL = 10;
/** Milliseconds between redraws of a table. */
const DRAW_INTERVAL = 200;
const WHOLE_BAR = '{label} {bar} {percentage}% · {rate} · {left} left {note}';
const TABLE_BAR = '{label} {bar} {percentage}% {note}';

type CliProgress = typeof import('cli-progress');

/** Progress on standard error: bars in a terminal, occasional lines elsewhere. */
export async function terminalProgress(): Promise<Progress> {
  return process.stderr.isTTY === true ? new BarDisplay((await import('cli-progress')).default) : new LineDisplay();
}

/** Shared by both: one task or table at a time, and log lines above it. Its methods may be detached. */
abstract class Display implements Progress {
  protected task: Task | undefined;
  protected running: TerminalTable | undefined;

  readonly begin = (label: string, total: number, unit: string): void => {
    this.end();
    this.task = new Task(label, total, unit);
    this.shown(this.task, '');
  };

  readonly update = (done: number, note = ''): void => {
    this.task?.update(done);
    if (this.task) this.shown(this.task, note);
  };

  readonly end = (): void => {
    this.running?.end();
    this.running = undefined;
    if (this.task) this.ended(this.task);
    this.task = undefined;
  };

  readonly table = (label: string, rows: readonly TableRow[], unit: string): Table => {
    this.end();
    this.running = new TerminalTable(this.bars(), label, rows, unit);
    return this.running;
  };

  readonly say = (line: string): void => {
    if (this.running) {
      this.running.say(line);
      return;
    }
    this.erase();
    process.stderr.write(`${line}\n`);
  };

  readonly tell = (_event: 'result' | 'warning', line: string): void => {
    this.say(line);
  };

  /** Shows the task's progress; there is no note yet when it begins. */
  protected abstract shown(task: Task, note: string): void;
  protected abstract ended(task: Task): void;
  /** Makes room for a log line. */
  protected abstract erase(): void;
  protected abstract bars(): MultiBar | undefined;
}

class BarDisplay extends Display {
  private bar: SingleBar | undefined;

  constructor(private readonly cliProgress: CliProgress) {
    super();
  }

  protected shown(task: Task, note: string): void {
    // Writing a line has ended the previous bar.
    const bar = this.bar ?? this.draw(task);
    if (task.begun) bar.update(task.done, { ...rateAndLeft(task), note });
  }

  private draw(task: Task): SingleBar {
    const { SingleBar, Presets } = this.cliProgress;
    const options = { format: WHOLE_BAR, stream: process.stderr, barsize: 28, hideCursor: true, fps: 8 };
    this.bar = new SingleBar(options, Presets.shades_classic);
    this.bar.start(task.total, task.done, { label: task.label.padEnd(18), rate: '', left: '?', note: '' });
    return this.bar;
  }

  protected ended(): void {
    this.erase();
  }

  protected erase(): void {
    this.bar?.stop();
    this.bar = undefined;
  }

  protected bars(): MultiBar {
    const { MultiBar, Presets } = this.cliProgress;
    const options = { format: TABLE_BAR, stream: process.stderr, barsize: 16, hideCursor: true, fps: 8 };
    return new MultiBar(options, Presets.shades_classic);
  }
}

class LineDisplay extends Display {
  private printed = 0;

  protected shown(task: Task, note: string): void {
    const now = performance.now();
    if (!task.begun) this.printed = now;
    if ((now - this.printed) / 1000 < LINE_INTERVAL) return;
    this.printed = now;
    const pace = task.left() === undefined ? '' : paceOf(task);
    const percent = Math.floor((100 * task.done) / task.total);
    process.stderr.write(`${task.label}: ${`${percent} %${pace} ${note}`.trimEnd()}\n`);
  }

  protected ended(task: Task): void {
    if (!task.begun) return;
    process.stderr.write(`${task.label}: ${shortCount(task.done)} ${task.unit}s in ${duration(task.seconds())}\n`);
  }

  protected erase(): void {}

  protected bars(): undefined {
    return undefined;
  }
}

/** Left out where there is no rate yet. */
function paceOf(task: Task): string {
  const { rate, left } = rateAndLeft(task);
  return ` · ${rate} · ${left} left`;
}

function rateAndLeft(task: Task): { rate: string; left: string } {
  const left = task.left();
  return { rate: `${shortCount(task.rate())} ${task.unit}s/s`, left: left === undefined ? '?' : duration(left) };
}

interface TableRow {
  readonly label: string;
  readonly total: number;
}

/**
 * A table with a bar per running task and one for all of them. A finished task leaves a line above, so that the table
 * fits any terminal. Without a terminal, lines with totals.
 */
class TerminalTable implements Table {
  private readonly started = performance.now();
  private readonly total: number;
  private readonly widest: number;
  private readonly done: number[];
  private readonly drawn: number[];
  private readonly bars = new Map<number, SingleBar>();
  private readonly over = new Set<number>();
  /** Work done by an earlier run does not count towards the rate. */
  private readonly first = new Map<number, number>();
  private printed = this.started;
  private readonly all: SingleBar | undefined;

  constructor(
    private readonly multiBar: MultiBar | undefined,
    private readonly label: string,
    private readonly rows: readonly TableRow[],
    private readonly unit: string,
  ) {
    this.total = rows.reduce((sum, row) => sum + row.total, 0);
    this.widest = Math.max(label.length, ...rows.map((row) => row.label.length));
    this.done = new Array<number>(rows.length).fill(0);
    this.drawn = new Array<number>(rows.length).fill(Number.NEGATIVE_INFINITY);
    this.all = multiBar?.create(this.total, 0, { label: this.padded(label), note: '' });
  }

  update(row: number, units: number, note = ''): void {
    this.done[row] = units;
    if (!this.first.has(row)) this.first.set(row, units);
    const now = performance.now();
    if (this.multiBar && now - this.drawn[row]! >= DRAW_INTERVAL) {
      this.drawn[row] = now;
      this.draw(this.multiBar, row, note);
    } else if (!this.multiBar && (now - this.printed) / 1000 >= LINE_INTERVAL) {
      this.printed = now;
      const { sum, note: together } = this.sums();
      process.stderr.write(`${this.label}: ${Math.floor((100 * sum) / this.total)} % · ${together}\n`);
    }
  }

  private draw(multiBar: MultiBar, row: number, note: string): void {
    const { label, total } = this.rows[row]!;
    const units = this.done[row]!;
    const bar = this.bars.get(row) ?? multiBar.create(total, units, { label: this.padded(label), note });
    this.bars.set(row, bar);
    bar.update(units, { note });
    const { sum, note: together } = this.sums();
    this.all!.update(sum, { note: together });
  }

  private sums(): { sum: number; note: string } {
    const sum = this.done.reduce((a, b) => a + b, 0);
    const gained = sum - [...this.first.values()].reduce((a, b) => a + b, 0);
    const rate = gained / ((performance.now() - this.started) / 1000);
    const left = rate > 0 ? duration((this.total - sum) / rate) : '?';
    const standing = `${this.over.size} of ${this.rows.length} done`;
    return { sum, note: `${standing} · ${shortCount(rate)} ${this.unit}s/s · ${left} left` };
  }

  finish(row: number, note: string): void {
    this.over.add(row);
    const bar = this.bars.get(row);
    if (bar) this.multiBar!.remove(bar);
    this.bars.delete(row);
    this.say(`${this.padded(this.rows[row]!.label)}  ${note}`);
  }

  end(): void {
    this.multiBar?.stop();
  }

  /** A log line above the table. */
  say(line: string): void {
    if (this.multiBar) this.multiBar.log(`${line}\n`);
    else process.stderr.write(`${line}\n`);
  }

  private padded(label: string): string {
    return label.padEnd(this.widest);
  }
}
