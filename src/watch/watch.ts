import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { Interrupted, Refusal } from '../config/refusal.js';
import type { WatchConfig } from '../config/stages.js';
import type { StopRequest } from '../progress/progress.js';
import type { StopSignal } from '../progress/stop-signals.js';
import { LiveView } from './live-view.js';
import { serve } from './server.js';
import { WatchedRuns } from './watched-runs.js';

/** How often the user's wish to stop is looked at (milliseconds). */
const STOP_INTERVAL = 100;

/**
 * Serves a live page of the runs in and below a directory until the user stops it.
 *
 * @param print told the page's address
 * @throws Refusal where there is no such directory or the port is in use; Interrupted in the end
 */
export async function watch(
  { directory, port }: WatchConfig,
  stop: StopRequest,
  print: (line: string) => void,
): Promise<never> {
  const found = await stat(directory).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw new Refusal(
      found ? `${directory} is not a directory.` : `There is no directory ${directory}.`,
      'Give the --out of train, or a directory that holds several.',
    );
  }
  const root = resolve(directory);
  const server = await serve(new LiveView(new WatchedRuns(root), root), basename(root) || root, port);
  print(server.url);
  const signal = await stopOf(stop);
  await server.close();
  throw new Interrupted(signal, 'the page is closed; what it showed goes on.');
}

function stopOf(stop: StopRequest): Promise<StopSignal> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (stop.signal === undefined) return;
      clearInterval(timer);
      resolve(stop.signal);
    }, STOP_INTERVAL);
  });
}
