import type { SingleBar } from 'cli-progress';
import type { Progress } from './progress.js';
import { Task } from './task.js';

/** Seconds between lines where there is no terminal to draw on (a log file, a cluster job). */
const LINE_INTERVAL = 10;

/** Progress on standard error: a bar in a terminal, a line now and then elsewhere. */
export async function terminalProgress(): Promise<Progress> {
  const { default: cliProgress } = await import('cli-progress');
  const interactive = process.stderr.isTTY === true;
  let bar: SingleBar | undefined;
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
      erase();
      if (!interactive && task?.begun) {
        process.stderr.write(`${task.label}: ${count(task.done)} ${task.unit}s in ${duration(task.seconds())}\n`);
      }
      task = undefined;
    },
    say(line) {
      erase();
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
