import type { SingleBar } from 'cli-progress';
import type { Progress } from './progress.js';
import { count, duration } from './spoken.js';
import { Task } from './task.js';
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
