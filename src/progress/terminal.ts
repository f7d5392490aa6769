import type { MultiBar, SingleBar } from 'cli-progress';
import { count, duration, type Progress, type Table, Task } from './progress.js';

/** Seconds between lines where there is no terminal to draw on (a log file, a cluster job). */
const LINE_INTERVAL = 10;

/** Progress on standard error: a bar in a terminal, a line now and then elsewhere. */
export async function terminalProgress(): Promise<Progress> {
  const { default: cliProgress } = await import('cli-progress');
  const interactive = process.stderr.isTTY === true;
  let bar: SingleBar | undefined;
  let table: TerminalTable | undefined;
  const multiBar = (format: string) =>
    new cliProgress.MultiBar(
      { format, stream: process.stderr, barsize: 16, hideCursor: true, fps: 8 },
      cliProgress.Presets.shades_classic,
    );
  let task: Task | undefined;
  let printed = 0;

  const figures = (of: Task) => {
    const left = of.left();
    return { rate: `${count(of.rate())} ${of.unit}s/s`, left: left === undefined ? '?' : duration(left) };
  };
  const draw = (of: Task) => {
    bar = new cliProgress.SingleBar(
      {
        format: '{label} {bar} {percentage}% · {rate} · {left} left {note}',
        stream: process.stderr,
        barsize: 28,
        hideCursor: true,
        fps: 8,
      },
      cliProgress.Presets.shades_classic,
    );
    bar.start(of.total, of.done, { label: of.label.padEnd(18), rate: '', left: '?', note: '' });
    return bar;
  };
  const erase = () => {
    bar?.stop();
    bar = undefined;
  };
  const progress: Progress = {
    begin(label, total, unit) {
      progress.end();
      task = new Task(label, total, unit);
      printed = performance.now();
      if (interactive) draw(task);
    },
    update(done, note = '') {
      if (!task) return;
      task.update(done);
      if (interactive) {
        // A line that was said has ended the bar before.
        (bar ?? draw(task)).update(done, { ...figures(task), note });
      } else if ((performance.now() - printed) / 1000 >= LINE_INTERVAL) {
        printed = performance.now();
        const { rate, left } = figures(task);
        const percent = Math.floor((100 * done) / task.total);
        process.stderr.write(`${task.label}: ${percent} % · ${rate} · ${left} left ${note}\n`);
      }
    },
    end() {
      table?.end();
      table = undefined;
      erase();
      if (!interactive && task?.begun) {
        process.stderr.write(`${task.label}: ${count(task.done)} ${task.unit}s in ${duration(task.seconds())}\n`);
      }
      task = undefined;
    },
    table(label, rows, unit) {
      progress.end();
      table = terminalTable(interactive ? multiBar : undefined, label, rows, unit);
      return table;
    },
    say(line) {
      if (table) {
        table.say(line);
        return;
      }
      erase();
      process.stderr.write(`${line}\n`);
    },
    tell: (_event, line) => progress.say(line),
  };
  return progress;
}

/** Seconds between lines where there is no terminal to draw on. */
const TABLE_LINE_INTERVAL = 10;
/** Milliseconds between two drawings. */
const DRAW_INTERVAL = 200;

/** A live table on a terminal, or lines now and then; `end` takes it away. */
export interface TerminalTable extends Table {
  end(): void;
  /** A line above the table. */
  say(line: string): void;
}

/**
 * A table with a bar for every task under way and one for all of them. A task that is over leaves a line above, so that
 * the table fits any terminal. Without a terminal, lines with the sums.
 */
export function terminalTable(
  multiBar: ((format: string) => MultiBar) | undefined,
  label: string,
  rows: readonly { label: string; total: number }[],
  unit: string,
): TerminalTable {
  const started = performance.now();
  const total = rows.reduce((sum, row) => sum + row.total, 0);
  const widest = Math.max(label.length, ...rows.map((row) => row.label.length));
  const done = new Array<number>(rows.length).fill(0);
  const drawn = new Array<number>(rows.length).fill(Number.NEGATIVE_INFINITY);
  const bars = new Map<number, SingleBar>();
  const over = new Set<number>();
  // What an earlier run had done does not count into the rate.
  const first = new Map<number, number>();
  let printed = started;

  const bar = multiBar?.('{label} {bar} {percentage}% {note}');
  const all = bar?.create(total, 0, { label: label.padEnd(widest), note: '' });
  const write = (line: string) => (bar ? bar.log(`${line}\n`) : process.stderr.write(`${line}\n`));
  const sums = () => {
    const sum = done.reduce((a, b) => a + b, 0);
    const gained = sum - [...first.values()].reduce((a, b) => a + b, 0);
    const rate = gained / ((performance.now() - started) / 1000);
    const left = rate > 0 ? duration((total - sum) / rate) : '?';
    return { sum, note: `${over.size} of ${rows.length} done · ${count(rate)} ${unit}s/s · ${left} left` };
  };

  return {
    update(row, units, note = '') {
      done[row] = units;
      if (!first.has(row)) first.set(row, units);
      const now = performance.now();
      if (bar && now - drawn[row]! >= DRAW_INTERVAL) {
        drawn[row] = now;
        const own =
          bars.get(row) ?? bar.create(rows[row]!.total, units, { label: rows[row]!.label.padEnd(widest), note });
        bars.set(row, own);
        own.update(units, { note });
        const { sum, note: together } = sums();
        all!.update(sum, { note: together });
      } else if (!bar && (now - printed) / 1000 >= TABLE_LINE_INTERVAL) {
        printed = now;
        const { sum, note: together } = sums();
        process.stderr.write(`${label}: ${Math.floor((100 * sum) / total)} % · ${together}\n`);
      }
    },
    finish(row, note) {
      over.add(row);
      const own = bars.get(row);
      if (own) bar!.remove(own);
      bars.delete(row);
      write(`${rows[row]!.label.padEnd(widest)}  ${note}`);
    },
    end: () => bar?.stop(),
    say: write,
  };
}
