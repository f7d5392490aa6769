import { type Progress, type StopRequest, silent } from '../../src/progress/progress.js';

/** A progress that asks to stop at the n-th update of a task. */
export function stopsAt(label: RegExp, n: number): { progress: Progress; stop: StopRequest } {
  const stop: StopRequest = { signal: undefined };
  let [here, updates] = [false, 0];
  const progress: Progress = {
    ...silent,
    begin: (name) => {
      here = label.test(name);
    },
    update: () => {
      if (here && ++updates === n) stop.signal = 'SIGTERM';
    },
  };
  return { progress, stop };
}
