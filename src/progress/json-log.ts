import { type Progress, Task } from './progress.js';

/** Min time between two updates of a task (milliseconds). */
const INTERVAL = 1000;

/** A line of `--log json`: one JSON object, starting with the time. Non-finite numbers become null. */
export function jsonLine(event: string, fields: Readonly<Record<string, unknown>>): string {
  return `${JSON.stringify({ time: new Date().toISOString(), event, ...fields })}\n`;
}

/**
 * Progress as one JSON object per line: `begin`, `update` (at most one per second), `end` and `say`.
 * docs/how-to/watching.md lists the fields.
 *
 * @param write receives a line including its newline
 * @param now a clock in milliseconds
 */
export function jsonProgress(write: (line: string) => void, now: () => number = () => performance.now()): Progress {
  let task: Task | undefined;
  let written = Number.NEGATIVE_INFINITY;

  const tell = (event: string, { label, done, total, unit }: Task, more: Readonly<Record<string, unknown>> = {}) =>
    write(jsonLine(event, { label, done, total, unit, ...more }));
  const progress: Progress = {
    begin(label, total, unit) {
      progress.end();
      task = new Task(label, total, unit, now);
      written = Number.NEGATIVE_INFINITY;
      tell('begin', task);
    },
    update(done, note = '') {
      if (!task) return;
      task.update(done);
      if (now() - written < INTERVAL) return;
      written = now();
      // Notes are formatted for following a bar.
      const figures = note.replace(/^·\s*/, '');
      tell('update', task, { rate: task.rate(), left: task.left() ?? null, note: figures });
    },
    end() {
      if (task) tell('end', task, { rate: task.rate(), seconds: task.seconds() });
      task = undefined;
    },
    table(label, rows, unit) {
      progress.begin(
        label,
        rows.reduce((sum, row) => sum + row.total, 0),
        unit,
      );
      const tasks = rows.map((row) => new Task(row.label, row.total, unit, now));
      const last = rows.map(() => Number.NEGATIVE_INFINITY);
      return {
        update(row, done, note = '') {
          tasks[row]!.update(done);
          const sum = tasks.reduce((total, each) => total + each.done, 0);
          progress.update(sum);
          if (now() - last[row]! < INTERVAL) return;
          last[row] = now();
          tell('update', tasks[row]!, { rate: tasks[row]!.rate(), left: tasks[row]!.left() ?? null, note });
        },
        finish: (row, note) => tell('end', tasks[row]!, { seconds: tasks[row]!.seconds(), note }),
      };
    },
    say(line) {
      write(jsonLine('say', { message: line }));
    },
    tell(event, _line, fields) {
      write(jsonLine(event, fields));
    },
  };
  return progress;
}
