import type { SingleBar } from 'cli-progress';
import type { Progress } from './progress.js';
import { type TerminalTable, terminalTable } from './terminal-table.js';

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
      { format, stream: process.stderr, barsize: 28, hideCursor: true, fps: 8 },
      cliProgress.Presets.shades_classic,
    );
  let task = { label: '', total: 0, unit: '', started: 0, printed: 0, first: 0, done: 0, begun: false };

  const rate = (done: number) => {
    const seconds = (performance.now() - task.started) / 1000;
    return seconds > 0 ? (done - task.first) / seconds : 0;
  };
  const figures = (done: number) => {
    const perSecond = rate(done);
    const left = perSecond > 0 ? duration((task.total - done) / perSecond) : '?';
    return { rate: `${count(perSecond)} ${task.unit}s/s`, left };
  };
  const progress: Progress = {
    begin(label, total, unit) {
      progress.end();
      task = {
        label,
        total,
        unit,
        started: performance.now(),
        printed: performance.now(),
        first: 0,
        done: 0,
        begun: false,
      };
      if (!interactive) return;
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
      bar.start(total, 0, { label: label.padEnd(18), rate: '', left: '?', note: '' });
    },
    update(done, note = '') {
      if (!task.begun) {
        // What an earlier run did does not count into the rate.
        task.begun = true;
        task.first = done;
      }
      task.done = done;
      if (bar) {
        bar.update(done, { ...figures(done), note });
      } else if (!interactive && (performance.now() - task.printed) / 1000 >= LINE_INTERVAL) {
        task.printed = performance.now();
        const { rate: r, left } = figures(done);
        const percent = Math.floor((100 * done) / task.total);
        process.stderr.write(`${task.label}: ${percent} % · ${r} · ${left} left ${note}\n`);
      }
    },
    end() {
      table?.end();
      table = undefined;
      bar?.stop();
      bar = undefined;
      if (!interactive && task.begun) {
        const seconds = (performance.now() - task.started) / 1000;
        process.stderr.write(`${task.label}: ${count(task.done)} ${task.unit}s in ${duration(seconds)}\n`);
      }
      task.begun = false;
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
      bar?.stop();
      bar = undefined;
      process.stderr.write(`${line}\n`);
    },
  };
  return progress;
}

/** A count with three significant figures: 63.9k. */
export function count(n: number): string {
  if (n < 1000) return n.toFixed(n < 10 ? 1 : 0);
  const unit = n < 1e6 ? 'k' : n < 1e9 ? 'M' : 'G';
  const value = n / (unit === 'k' ? 1e3 : unit === 'M' ? 1e6 : 1e9);
  return `${value.toPrecision(3)}${unit}`;
}

/** Seconds as people say them: 1 h 02 min, 3 min 05 s, 12 s. */
export function duration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')} min`;
}
